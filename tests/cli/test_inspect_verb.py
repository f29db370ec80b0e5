"""`testbed inspect`: printed commands, --mend, exit codes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import cli
from tests.cli.test_lab_verbs import up

pytestmark = pytest.mark.sealed
BREAKING = (
    ("node2", "ip link del flannel.1"),
    ("node2", "ip link add flannel.1 type vxlan id 2 dev eth0 local 192.168.56.2 dstport 8472 nolearning"),
    ("node2", "ip link set flannel.1 up"),
    ("node1", "iptables -I FORWARD -j DROP"),
    ("web-1", "sysctl -qw net.ipv4.conf.all.arp_ignore=8"),
)


def broken(repository: Path) -> str:
    """Break the lab; the text of `inspect`."""
    for place, command in BREAKING:
        assert cli("exec", place, "--", *shlex.split(command), cwd=repository).returncode == 0
    said = cli("inspect", cwd=repository)
    assert said.returncode == 1
    return said.stdout


def test_printed_commands_run_once_in_order(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_LAB", "one")
    with up(repository, "two", "one"):
        text = broken(repository)
        lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        assert lines
        assert all(line.startswith("testbed exec --lab one ") for line in lines)
        (tmp_path / "testbed").write_text(f'#!/bin/sh\nexec {sys.executable} -m testbed "$@"\n')
        (tmp_path / "testbed").chmod(0o755)
        (tmp_path / "repair.sh").write_text(f"PATH={tmp_path}:$PATH\n" + "\n".join(lines))
        done = subprocess.run(["sh", "-e", tmp_path / "repair.sh"], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert cli("inspect", cwd=repository).returncode == 0


def test_mend_fixes_what_differs_and_compares_again(repository: Path) -> None:
    with up(repository, "one"):
        named = [line for line in broken(repository).splitlines() if not line.startswith("    ")]
        said = cli("inspect", "--mend", cwd=repository)
        assert (said.returncode, said.stderr) == (0, "")
        *told, last = said.stdout.splitlines()
        assert told == named
        assert last == f"one: fixed {len(named)} differences; 7 namespaces match the plan of design vxlan"
        whole = cli("inspect", cwd=repository).stdout
        assert "not compared: learned neighbours" in whole
        assert json.loads(cli("inspect", "--mend", "--json", cwd=repository).stdout) == []
