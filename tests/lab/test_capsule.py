"""The capsule: changes inside do not affect the host, and end with it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.lab.capsule import enclosed

pytestmark = pytest.mark.root


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_exit_code_is_the_result_of_the_work() -> None:
    assert enclosed(lambda: 7) == 7


def test_an_exception_is_printed_and_gives_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise ValueError("broken on purpose")

    assert enclosed(work) == 1
    assert "ValueError: broken on purpose" in capfd.readouterr().err


def test_links_mounts_and_files_in_run_stay_inside() -> None:
    def outside() -> tuple[str, str, list[Path]]:
        return run("ip", "-o", "link"), Path("/proc/self/mounts").read_text(), sorted(Path("/run").iterdir())

    before = outside()

    def work() -> int:
        run("ip", "netns", "add", "inside")
        run("ip", "link", "add", "inside0", "type", "bridge")
        Path("/run/inside").touch()
        return 0

    assert enclosed(work) == 0
    assert outside() == before


def test_processes_left_running_end_with_the_work() -> None:
    mark = f"1000.{random.randrange(10**9)}"

    def work() -> int:
        subprocess.Popen(["sleep", mark], start_new_session=True)
        return 0

    assert enclosed(work) == 0
    assert mark not in run("ps", "-eo", "args")


def test_the_caller_can_start_children_afterwards() -> None:
    """They are not in the capsule's PID namespace."""
    enclosed(lambda: 0)
    assert run("readlink", "/proc/self/ns/pid").strip() == str(Path("/proc/self/ns/pid").readlink())


def test_a_capsule_in_a_capsule_is_isolated() -> None:
    def work() -> int:
        run("ip", "link", "add", "same0", "type", "bridge")
        return enclosed(
            lambda: subprocess.run(["ip", "link", "add", "same0", "type", "bridge"], check=False).returncode
        )

    assert enclosed(work) == 0


PROGRAM = """
import subprocess, sys, time
from testbed.lab.capsule import enclosed
def work():
    subprocess.Popen(["sleep", sys.argv[1]])
    try:
        print("inside", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("asked to end", flush=True)
        return 5
    return 0
sys.exit(enclosed(work))
"""


def start(mark: str) -> subprocess.Popen[str]:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, mark], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "inside\n"
    return program


def gone(mark: str) -> bool:
    """Whether no process with the mark is left; the kernel may take a moment to kill and reap them."""
    return eventually(lambda: mark not in run("ps", "-eo", "args"))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_forwarded_to_the_work(number: signal.Signals) -> None:
    mark = f"1000.{random.randrange(10**9)}"
    program = start(mark)
    program.send_signal(number)
    assert program.wait(5) == (5 if number == signal.SIGINT else 128 + number)
    assert gone(mark)


def test_sigkill_of_the_caller_ends_everything() -> None:
    mark = f"1000.{random.randrange(10**9)}"
    program = start(mark)
    program.kill()
    program.wait(5)
    assert gone(mark)


def test_sigkill_of_the_first_process_ends_everything() -> None:
    mark = f"1000.{random.randrange(10**9)}"
    program = start(mark)
    (first,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    assert program.wait(5) == 128 + signal.SIGKILL
    assert gone(mark)


EARLY = """
import os, signal, time
from testbed.lab.capsule import enclosed
fork = os.fork
def fork_and_signal():
    child = fork()
    if child:
        os.kill(os.getpid(), signal.SIGTERM)
    return child
os.fork = fork_and_signal
os._exit(enclosed(lambda: time.sleep(60) or 0))
"""


def test_a_signal_before_the_handlers_are_installed_is_not_lost() -> None:
    program = subprocess.Popen([sys.executable, "-c", EARLY])
    assert program.wait(10) == 128 + signal.SIGTERM


def test_ctrl_z_does_not_stop_the_caller() -> None:
    mark = f"1000.{random.randrange(10**9)}"
    program = start(mark)
    program.send_signal(signal.SIGTSTP)
    program.send_signal(signal.SIGINT)
    assert program.wait(5) == 5
    assert gone(mark)
