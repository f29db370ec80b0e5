"""Only one run measures on a machine at a time."""

import subprocess
import sys

import pytest

from testbed.experiment import alone as module
from testbed.experiment.alone import alone

HOLDER = """
import sys
from testbed.experiment.alone import alone
with alone(lambda: None):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)


def test_the_second_run_waits_for_the_first() -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    states = []

    def on_wait() -> None:
        states.append(first.poll())
        first.kill()

    with alone(on_wait):
        assert first.wait(5) == -9
    assert states == [None], "called once, while the first run was active"


def test_a_single_run_does_not_wait() -> None:
    with alone(lambda: pytest.fail("no other run")):
        pass
