"""One run at a time on a machine."""

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


def test_the_second_one_waits_for_the_first_to_end() -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "in\n"
    told = []

    def on_waiting() -> None:
        told.append(first.poll())
        first.kill()

    with alone(on_waiting):
        assert first.wait(5) == -9
    assert told == [None], "it was told once, while the first was there"


def test_nobody_waits_for_nobody() -> None:
    with alone(lambda: pytest.fail("there is no other run")):
        pass
