"""Output of containers, and commands with their variables, in one lab."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import cli, golden

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: tool, labels: {app: tool}}
spec:
  initContainers:
  - {name: first, image: busybox, command: [echo, first]}
  containers:
  - name: main
    image: alpine
    command: [sh, -c, 'seq 20; while test ! -e /run/go; do sleep 0.1; done; printf "b\\377d\\n"; sleep 1000']
    env: [{name: WORD, value: one}]
  - {name: side, image: nginx, ports: [{containerPort: 80}], env: [{name: WORD, value: two}]}
---
apiVersion: v1
kind: Pod
metadata: {name: crash, labels: {app: tool}}
spec:
  containers: [{name: main, image: host, command: [sh, -c, "echo $$(date +%N); exit 3"]}]
"""
PATIENCE_S = 20.0


@contextmanager
def up(repository: Path, folder: Path) -> Iterator[None]:
    file = folder / "tool.yaml"
    file.write_text(MANIFEST)
    words = ("--design", "l2", "--name", "one", "--host-images", "-f", str(file))
    made = cli("up", "topologies/two-nodes.yaml", *words, cwd=repository)
    assert made.returncode == 0, made.stderr
    try:
        yield
    finally:
        cli("down", "--all", cwd=repository)


def printed(repository: Path, *words: str) -> str:
    said = cli(*words, cwd=repository)
    assert said.returncode == 0, said.stderr
    return said.stdout


def refused(repository: Path, code: int, *words: str) -> str:
    said = cli(*words, cwd=repository)
    assert (said.returncode, said.stdout) == (code, "")
    return said.stderr


@pytest.mark.sealed
def test_logs_and_variables_of_containers(repository: Path, tmp_path: Path) -> None:
    numbers = [f"{number}\n" for number in range(1, 21)]
    with up(repository, tmp_path):
        whole = cli("logs", "tool", cwd=repository)
        assert whole.stdout == "".join(numbers)
        assert whole.stderr == 'Defaulted container "main" out of: main, side, first (init)\n'
        assert printed(repository, "logs", "tool", "-c", "main", "--tail", "2") == "19\n20\n"
        assert printed(repository, "logs", "tool", "-c", "main", "--tail", "0") == ""
        every = printed(repository, "logs", "pod/tool", "--all-containers", "--prefix", "--tail=1")
        assert every == "[pod/tool/first] first\n[pod/tool/main] 20\n"
        selected = printed(repository, "logs", "-l", "app=tool").splitlines()
        assert selected[:10] == [str(number) for number in range(11, 21)]
        assert len(selected) == 11
        before = printed(repository, "logs", "crash", "-p")
        assert before.strip().isdigit()
        assert before != printed(repository, "logs", "crash")
        follow(repository)
        assert printed(repository, "exec", "tool", "-c", "side", "--", "sh", "-c", "echo $WORD -c") == "two -c\n"
        assert printed(repository, "exec", "-c", "main", "tool", "sh", "-c", "echo $WORD") == "one\n"
        assert printed(repository, "exec", "--lab", "one", "tool", "--container=main", "--", "hostname") == "tool\n"
        assert printed(repository, "exec", "tool", "--", "sh", "-c", "echo -c x $WORD") == "-c x one\n"
        assert printed(repository, "exec", "-it", "tool", "--", "hostname") == "tool\n"
        assert printed(repository, "exec", "tool", "-i", "-t", "-c", "side", "--", "hostname") == "tool\n"
        assert printed(repository, "exec", "client", "-c", "pod", "--", "hostname") == "client\n"
        golden("logs-refused", "".join(refusals(repository)))
        deleted = printed(repository, "delete", "pod", "crash", "--wait=false", "--force=true")
        assert deleted == 'pod "crash" deleted from default namespace\n'


def follow(repository: Path) -> None:
    """Follows the output of a program until it has ended, byte for byte."""
    command = [sys.executable, "-m", "testbed", "logs", "tool", "-c", "main", "-f", "--tail=1"]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as following:
        assert following.stdout
        assert following.stdout.readline() == b"20\n"
        cli("exec", "tool", "--", "touch", "/run/go", cwd=repository)
        assert following.stdout.readline() == b"b\377d\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(PATIENCE_S) == 130


def refusals(repository: Path) -> Iterator[str]:
    for code, words in (
        (2, ("logs", "tol")),
        (2, ("logs", "tool", "-c", "man")),
        (2, ("logs", "deployment/tool")),
        (2, ("logs", "tool", "-n", "shop")),
        (2, ("logs",)),
        (2, ("logs", "tool", "-c", "main", "--all-containers")),
        (2, ("logs", "-l", "app in")),
        (1, ("logs", "tool", "-c", "side")),
        (1, ("logs", "tool", "-c", "main", "-p")),
        (1, ("logs", "-l", "app=none")),
        (2, ("exec", "tool", "-c", "man", "--", "true")),
        (2, ("exec", "node1", "-c", "main", "--", "true")),
        (2, ("exec", "tool", "-c", "main")),
        (2, ("exec", "-n", "shop", "tool", "--", "true")),
        (2, ("exec", "deployment/tool", "--", "true")),
        (2, ("get", "podz")),
        (2, ("get", "pods", "tol")),
        (2, ("get", "pods", "--lab", "onee")),
        (2, ("delete", "pods")),
        (2, ("delete", "pod", "tol")),
        (2, ("scale", "deployment/tool", "--replicas", "2")),
        (2, ("apply", "-f", "tests/kubernetes/errors/pod-port-protocol.yaml")),
    ):
        yield f"$ testbed {' '.join(words)}   # exit code {code}\n{refused(repository, code, *words)}"
