"""Labs from Python, as the README and the examples use them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import Lab
from testbed.lab import door
from testbed.lab.living import ChangeRefused, UnknownPlace

pytestmark = pytest.mark.root

FILE = Path(__file__).parent.parent / "topologies/two-nodes.yaml"


def labs_of(process: int) -> list[str]:
    return [address.name for address in door.addresses() if f"-{process}-" in address.name]


def test_a_lab_is_used_from_python_and_ends_with_its_block() -> None:
    with Lab.up(FILE, design="vxlan") as lab:
        done = lab["client"].run(["cat"], input=b"hello", capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
        assert b" 1 received" in lab["client"].run(["ping", "-c", "1", "web-2"], stdout=subprocess.PIPE).stdout
        with pytest.raises(subprocess.CalledProcessError):
            lab["web-1"].run(["sh", "-c", "exit 3"], check=True)
        with pytest.raises(subprocess.TimeoutExpired):
            lab["web-1"].run(["sleep", "60"], timeout=0.2)
        assert lab.check().is_good
        assert lab.inspect() == ()
        assert lab.trace("client", "web-2", "tcp", 80).outcome == "answered"
        assert [place.name for place in lab] == ["node1", "node2", "client", "web-1", "web-2"]
        assert str(lab["web-2"].addresses[0]) == "10.244.1.2"
        assert lab["web-2"].node == "node2"
        with pytest.raises(UnknownPlace):
            lab["web-3"]
        assert labs_of(os.getpid())
    assert not labs_of(os.getpid())


def test_labs_of_one_process_are_separate(lab_up: Callable[..., Lab]) -> None:
    one, other = lab_up(FILE, design="l2"), lab_up(FILE, design="l2")
    one["client"].run(["ip", "link", "set", "eth0", "down"], check=True)
    assert not one.check().is_good
    assert other.check().is_good
    assert Lab.find(other.name).plan == other.plan


def test_a_lab_ends_with_the_process_that_made_it() -> None:
    program = (
        f"from testbed import Lab; import time; lab = Lab.up({str(FILE)!r}, design='l2');"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert labs_of(process.pid)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while labs_of(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("command", [["examples/routes_are_right.py"], ["-m", "pytest", "-q", "examples"]])
def test_the_examples_run(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=FILE.parent.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0].endswith(".py"):
        assert done.stdout.count("client to web-2: answered") == 4


def test_a_lab_that_is_up_is_changed(lab_up: Callable[..., Lab]) -> None:
    lab = lab_up(FILE, design="calico-vxlan")
    kept = {place.name: place.addresses for place in lab}
    late = lab.add_pod("late", "node2", labels={"app": "web"})
    assert late.node == "node2"
    lab.add_node("node3", pods=2)
    lab.set_link("node1,fabric", rate="100Mbit")
    assert lab.check().is_good
    lab.remove_pod("late")
    lab.remove_node("node2")
    assert lab.check().is_good
    assert lab.inspect() == ()
    assert {place.name: place.addresses for place in lab if place.name in kept} == {
        name: addresses for name, addresses in kept.items() if name not in ("node2", "web-2")
    }
    with pytest.raises(ChangeRefused, match="unknown pod 'late'"):
        lab.remove_pod("late")
