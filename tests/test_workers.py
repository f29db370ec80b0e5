"""Tests are assigned to workers once each, exclusive tests after all others, in one worker."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.workers import MOST_AT_ONCE, Scheduler

SESSION = """
import os, time
import pytest

def moment(word):
    with open({notes!r}, "a") as notes:
        notes.write(f"{{word}} {{os.getpid()}}\\n")

@pytest.mark.parametrize("number", range(12))
def test_ordinary(number):
    moment("begin")
    time.sleep(0.02)
    moment("end")

@pytest.mark.exclusive
@pytest.mark.parametrize("number", range(3))
def test_exclusive(number):
    moment("alone")
    time.sleep(0.02)
    moment("done")
"""


class FakeWorker:
    """Runs a test like xdist's workers: when it knows the next one, or that there is none."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.queue += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return len(self.queue) > (0 if self.shutting_down else 1)


@given(
    exclusive=st.lists(st.booleans(), max_size=60),
    files=st.integers(1, 5),
    workers=st.integers(1, 4),
    chance=st.randoms(use_true_random=False),
    crash_after=st.none() | st.integers(1, 40),
)
def test_each_test_runs_once_and_exclusive_ones_when_no_other_does(
    exclusive: list[bool], files: int, workers: int, chance: Random, crash_after: int | None
) -> None:
    exclusive.sort()
    names = [f"file{number * files // len(exclusive)}.py::test_{number}" for number in range(len(exclusive))]
    scheduler = Scheduler(
        workers, lambda: frozenset(name for name, alone in zip(names, exclusive, strict=True) if alone)
    )
    alive = [FakeWorker() for _ in range(workers)]
    for worker in alive:
        scheduler.add_node(worker)
        assert not scheduler.tests_finished
        scheduler.add_node_collection(worker, names)
    assert scheduler.collection_is_completed
    scheduler.schedule()
    ran: list[int] = []
    while True:
        if scheduler.tests_finished:
            for worker in alive:
                worker.shutdown()
        for worker in [worker for worker in alive if worker.shutting_down and not worker.queue]:
            alive.remove(worker)
            assert scheduler.remove_node(worker) is None
        able = [worker for worker in alive if worker.can_run]
        if not able:
            break
        worker = chance.choice(able)
        test = worker.queue[0]
        if crash_after is not None and len(ran) == crash_after:
            crash_after = None
            alive.remove(worker)
            ran.append(test)
            assert scheduler.remove_node(worker) == names[test]
            alive.append(FakeWorker())
            scheduler.add_node(alive[-1])
            scheduler.add_node_collection(alive[-1], names)
            scheduler.schedule()
            continue
        if exclusive[test]:
            assert len(alive) == 1, "other workers may still run their last test"
        worker.queue.pop(0)
        ran.append(test)
        scheduler.mark_test_complete(worker, test)
    assert sorted(ran) == list(range(len(names)))
    assert not scheduler.has_pending


def test_successive_tests_of_one_file_are_assigned_together() -> None:
    names = [f"{file}.py::test_{number}" for file in "abc" for number in range(MOST_AT_ONCE + 2)]
    scheduler, worker = Scheduler(1, frozenset), FakeWorker()
    scheduler.add_node(worker)
    scheduler.add_node_collection(worker, names)
    scheduler.schedule()
    assert worker.queue == list(range(MOST_AT_ONCE))


def test_workers_that_collect_different_tests_are_an_error() -> None:
    scheduler, one, other = Scheduler(2, frozenset), FakeWorker(), FakeWorker()
    for worker in (one, other):
        scheduler.add_node(worker)
    scheduler.add_node_collection(one, ["a.py::test"])
    with pytest.raises(pytest.UsageError, match="different tests"):
        scheduler.add_node_collection(other, ["b.py::test"])


def test_a_worker_that_shuts_down_is_assigned_no_tests() -> None:
    """As after a failure with -x: it would not run them."""
    names = [f"{file}.py::test" for file in "abcdef"]
    scheduler, workers = Scheduler(2, lambda: frozenset(names[4:])), (FakeWorker(), FakeWorker())
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, names)
    scheduler.schedule()
    assert [worker.queue for worker in workers] == [[0, 1], [2, 3]]
    for worker in workers:
        worker.shutdown()
    for test in (2, 3):
        scheduler.mark_test_complete(workers[1], test)
    scheduler.remove_node(workers[1])
    assert workers[0].queue == [0, 1]


def test_exclusive_tests_of_a_session_run_alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notes = pytester.path / "notes"
    session = SESSION.format(notes=str(notes))
    pytester.makepyfile(test_one=session, test_two=session, test_three=session)
    pytester.makeini("[pytest]\nmarkers =\n    exclusive: alone\n    root\n    sealed\n    needs\n    vm")
    result = pytester.runpytest_subprocess("-p", "tests.workers", "-p", "tests.where", "-n", "3")
    result.assert_outcomes(passed=45)
    words = [line.split() for line in notes.read_text().splitlines()]
    assert {word for word, _ in words[:72]} == {"begin", "end"}
    assert [word for word, _ in words[72:]] == ["alone", "done"] * 9
    assert len({process for _, process in words[72:]}) == 1
    assert len({process for _, process in words[:72]}) > 1


MACHINE = """
import sys, time
import tests.machine

PROGRAM = '''
import json, sys, time
time.sleep(2)
with open({notes!r}, "a") as notes:
    print("machine", file=notes)
with open(sys.argv[-1], "w") as outcomes:
    print(json.dumps({{"kernel": "6.12.0-there"}}), file=outcomes)
    print(json.dumps({{"test": "test_it.py::test_rare", "outcome": "passed"}}), file=outcomes)
'''
tests.machine.COMMAND = [sys.executable, "-c", PROGRAM]
"""
RARE = """
@pytest.mark.needs("netem")
def test_rare(): ...
"""


@pytest.mark.root
@pytest.mark.parametrize("workers", ["0", "2"])
def test_exclusive_tests_wait_for_the_virtual_machine(
    workers: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pytest's own process, and in workers, which get the lock from the controller."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notes = str(pytester.path / "notes")
    pytester.makeconftest(MACHINE.format(notes=notes))
    pytester.makepyfile(test_it=SESSION.format(notes=notes) + RARE)
    pytester.makeini("[pytest]\nmarkers =\n    exclusive: alone\n    needs(name): of the kernel\n    whole_matrix")
    result = pytester.runpytest_subprocess("-p", "tests.workers", "-p", "tests.where", "-n", workers, "--vm")
    assert result.ret == pytest.ExitCode.OK
    words = [line.split()[0] for line in Path(notes).read_text().splitlines()]
    assert words[-6:] == ["alone", "done"] * 3
    assert "machine" in words[:-6]  # At any position: ordinary tests do not wait for it.
    assert any(line.endswith("skipped everywhere: 0") for line in result.outlines)
