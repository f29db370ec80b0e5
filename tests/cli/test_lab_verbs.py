"""The verbs on labs: their errors, and how a capture ends.

Each test has its own capsule, which hides the labs of others.
"""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.cli.check import progress
from tests.cli.test_cli import cli, golden

pytestmark = pytest.mark.sealed
PATIENCE_S = 20


@contextmanager
def up(repository: Path, *names: str) -> Iterator[None]:
    for name in names:
        made = cli("up", "topologies/two-nodes.yaml", "--design", "vxlan", "--name", name, cwd=repository)
        assert made.returncode == 0, made.stderr
    try:
        yield
    finally:
        cli("down", "--all", cwd=repository)


def refused(repository: Path, *words: str) -> str:
    said = cli(*words, cwd=repository)
    assert (said.returncode, said.stdout) == (2, "")
    return said.stderr


@pytest.mark.needs("bpf")
def test_counters_of_ebpf_programs_are_printed(repository: Path) -> None:
    made = cli("up", "topologies/two-nodes.yaml", "--design", "cilium-native", "--name", "ebpf", cwd=repository)
    assert made.returncode == 0, made.stderr
    try:
        cli("exec", "client", "--", "ping", "-c", "2", "-i", "0.1", "10.244.0.3", cwd=repository)
        cli("exec", "client", "--", "ping", "-c", "1", "-W", "1", "-t", "1", "10.244.0.3", cwd=repository)
        said = cli("inspect", "--counters", cwd=repository)
        assert said.returncode == 0
        lines = [line.split() for line in said.stdout.splitlines()]
        assert ["node1", "cil_from_container", "to", "pods", "forwarded", "4", "392"] in lines
        assert ["node1", "cil_from_container", "to", "pods", "dropped:", "TTL", "exceeded", "1", "98"] in lines
        assert ["node1", "endpoint", "client", "from", "pods", "forwarded", "3", "294"] in lines
        data = json.loads(cli("inspect", "--counters", "--json", cwd=repository).stdout)
        (drop,) = [item for item in data if item["reason"] != "forwarded"]
        assert (drop["program"], drop["reason"], drop["packets"]) == ("cil_from_container", "TTL exceeded", 1)
    finally:
        cli("down", "--all", cwd=repository)


def test_a_design_without_ebpf_programs_has_no_counters(repository: Path) -> None:
    with up(repository, "one"):
        said = cli("inspect", "--counters", cwd=repository)
        assert (said.returncode, said.stdout) == (0, "The design vxlan has no eBPF programs and no counters.\n")


def test_without_a_lab_the_error_says_how_to_bring_one_up(repository: Path) -> None:
    verbs = (["check"], ["exec", "client", "--", "true"], ["trace", "a", "b"], ["shell"], ["capture", "a"], ["graph"])
    texts = {refused(repository, *words) for words in verbs}
    assert len(texts) == 1
    golden("lab-none", texts.pop())
    golden("lab-none-to-end", refused(repository, "down"))


def test_wrong_names_and_options_are_explained(repository: Path) -> None:
    with up(repository, "one"):
        texts = [
            refused(repository, *words)
            for words in (
                ["up", "topologies/two-nodes.yaml", "--design", "l2", "--name", "one"],
                ["up", "topologies/two-nodes.yaml", "--design", "l2", "--name", "no/name"],
                ["check", "--lab", "onne"],
                ["exec", "clent", "--", "true"],
                ["exec", "client"],
                ["ip", "web-9"],
                ["trace", "client", "web2"],
                ["trace", "client", "client"],
                ["trace", "client", "fabric"],
                ["trace", "client", "10.9.9.9"],
                ["capture", "client:eth1"],
                ["capture", "clinet", "icmp"],
                ["capture", "client", "web2"],
                ["capture", "client", "icmp", "or", "or"],
                ["capture", "client", "-w", "README.md"],
                ["capture", "client", "-w", "no/such/folder"],
                ["capture", "client", "-w", "x.pcapng", "--text"],
                ["down", "two"],
            )
        ]
    golden("lab-unknown", "\n".join(texts))


def test_one_of_several_labs_must_be_selected(repository: Path) -> None:
    with up(repository, "one", "two"):
        golden("lab-which", refused(repository, "check"))
        env = {**os.environ, "TESTBED_LAB": "two"}
        assert cli("exec", "client", "--", "true", cwd=repository, env=env).returncode == 0


def test_an_answer_that_the_asker_drops_is_no_answer(repository: Path) -> None:
    with up(repository, "one"):
        rule = ["iptables", "-A", "INPUT", "-s", "10.244.1.2", "-j", "DROP"]
        assert cli("exec", "client", "--", *rule, cwd=repository).returncode == 0
        said = cli("trace", "client", "10.244.1.2", cwd=repository)
        assert said.returncode == 1
        assert said.stdout.splitlines()[-1] == (
            "web-2 answered, but the answer was lost on the way back, last seen at eth0 of client; client: iptables: "
            "`-t filter -A INPUT -s 10.244.1.2/32 -j DROP`, which is not in the plan, dropped the packet"
        )


@contextmanager
def recording(repository: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A capture that has begun to record."""
    command = [sys.executable, "-m", "testbed", "capture", *words]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("recording ")
        yield process


def ping(repository: Path) -> None:
    assert cli("exec", "--lab", "one", "client", "--", "ping", "-c1", "-W2", "web-2", cwd=repository).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["by another process", "by the terminal"])
def test_a_signal_ends_a_capture_and_the_file_is_complete(
    number: signal.Signals, whom: object, repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.pcapng"
    with up(repository, "one"), recording(repository, "client", "node1:flannel.1", "icmp", "-w", str(file)) as process:
        ping(repository)
        whom(process.pid, number)  # type: ignore[operator]
        _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (0, f"4 packets in {file}\n")
    shown = subprocess.run(["tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, check=True).stdout
    assert shown.count("ICMP echo re") == 4


def test_a_killed_capture_leaves_no_process(repository: Path, tmp_path: Path) -> None:
    mark = str(tmp_path / "killed.pcapng")
    with up(repository, "one"):
        with recording(repository, "client", "-w", mark) as process:
            process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while mark in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_capture_into_a_pipe_ends_with_its_reader(repository: Path) -> None:
    with up(repository, "one"), recording(repository, "client", "icmp") as process:
        reader = subprocess.Popen(
            ["tcpdump", "-n", "-c", "2", "-r", "-"], stdin=process.stdout, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.close()
        ping(repository)
        shown, _ = reader.communicate(timeout=PATIENCE_S)
        assert process.wait(PATIENCE_S) == 0
    assert shown.count("ICMP echo re") == 2


def test_a_capture_in_a_terminal_prints_lines(repository: Path) -> None:
    terminal, end = pty.openpty()
    with up(repository, "one"):
        command = [sys.executable, "-m", "testbed", "capture", "client", "icmp", "--count", "2"]
        with subprocess.Popen(command, cwd=repository, stdout=end, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("recording ")
            ping(repository)
            assert process.communicate(timeout=PATIENCE_S)[1] == "2 packets\n"
    os.close(end)
    text = os.read(terminal, 4096).decode()
    os.close(terminal)
    assert [line.split(" ")[:2] for line in text.splitlines()] == [["client:eth0", "→"], ["client:eth0", "←"]]


def test_eight_labs_of_one_file_are_separate(repository: Path) -> None:
    names = [f"lab-{number}" for number in range(8)]
    with up(repository, *names):
        for name in names:
            # Would conflict or show up in other labs if they were connected.
            address = ["ip", "address", "add", f"10.99.0.{names.index(name)}/32", "dev", "eth0"]
            assert cli("exec", "--lab", name, "client", "--", *address, cwd=repository).returncode == 0
        command = [sys.executable, "-m", "testbed", "check", "--lab"]
        checks = [
            subprocess.Popen([*command, name], cwd=repository, stdout=subprocess.PIPE, text=True) for name in names
        ]
        said = [check.communicate(timeout=60)[0] for check in checks]
        assert [check.returncode for check in checks] == [0] * 8, said
        for name in names:
            shown = cli("ip", "--lab", name, "client", "-brief", "address", cwd=repository).stdout
            own = f"10.99.0.{names.index(name)}/32"
            assert [word for word in shown.split() if word.startswith("10.99.")] == [own]


def test_a_lab_and_a_topology_are_drawn(repository: Path, tmp_path: Path) -> None:
    with up(repository, "one"):
        for suffix, begin in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"graph")):
            file = tmp_path / f"lab.{suffix}"
            assert cli("graph", "-o", str(file), cwd=repository).stdout == f"wrote {file}\n"
            assert file.read_bytes().startswith(begin)
        picture = tmp_path / "walk.svg"
        for what in ("wrote", "replaced"):
            said = cli("trace", "client", "web-2", "--json", "--svg", str(picture), cwd=repository)
            assert (said.returncode, said.stderr) == (0, f"{what} {picture}\n")
            assert json.loads(said.stdout)["outcome"] == "answered"
        assert picture.read_text().startswith("<svg")
        of_lab = cli("graph", cwd=repository).stdout
    plain = ["topologies/two-nodes.yaml", "--design", "vxlan"]
    assert cli("graph", *plain, cwd=repository).stdout == of_lab
    texts = [
        refused(repository, "graph", *words)
        for words in (
            [*plain, "-o", str(tmp_path / "x.gif")],
            ["topologies/two-nodes.yaml"],
            ["topologies/two-nodes.yaml", "--design", "vxlam"],
            ["--design", "vxlan"],
            [*plain, "-o", "no/such/folder.svg"],
        )
    ]
    golden("graph-wrong", "\n".join(texts))


def test_check_shows_its_progress_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with progress() as show:
        show("asking every pair", 0.5)
    assert shown.getvalue() == ""
    monkeypatch.setattr(shown, "isatty", lambda: True)
    with progress() as show:
        show("asking every pair", 0.5)
    assert "asking every pair" in shown.getvalue()
    assert "50%" in shown.getvalue()
