"""Work shared between processes."""

import os
import subprocess

import pytest

from testbed.observe.share import shared


def test_each_part_is_done_once_in_its_own_process() -> None:
    parts = shared(lambda number, total: (number, total, os.getpid()), 3)
    assert [(number, total) for number, total, _ in parts] == [(0, 3), (1, 3), (2, 3)]
    assert len({pid for _, _, pid in parts}) == 3
    assert parts[0][2] == os.getpid()


@pytest.mark.parametrize("bad", [0, 2])
def test_an_exception_of_a_part_is_raised_and_no_process_stays(bad: int) -> None:
    def work(number: int, _: int) -> None:
        if number == bad:
            raise ValueError(number)

    with pytest.raises(ValueError, match=str(bad)):
        shared(work, 3)
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    assert [line for line in children.stdout.splitlines() if not line.startswith("ps ")] == []


def test_a_killed_part_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="ended early"):
        shared(lambda number, _: os.kill(os.getpid(), 9) if number else None, 2)
