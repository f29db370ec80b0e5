"""A plugin for pytest: tests side by side in several workers (pytest-xdist), but for those marked `exclusive`.

The whole suite has a worker more than there are CPUs, as tests of labs often wait for the kernel. Tests of files that
were named run in pytest's own process. Exclusive tests measure times, or look at what all tests of this machine share.
They run last, in one worker, after all other tests and the virtual machine (`tests.where`) have ended.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import pytest

MOST_AT_ONCE = 32
"""Tests of one file that a worker is given together; they may share what the file's fixtures make."""
FEWEST_IN_HAND = 2
"""A worker begins with a test when it knows which one is next."""


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return len(os.sched_getaffinity(0)) + 1 if is_whole else 0


def pytest_configure(config: pytest.Config) -> None:
    if config.option.dist != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Dealing())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Exclusive tests last; which they are, workers tell in a file."""
    items.sort(key=_is_exclusive)
    if hasattr(config, "workerinput"):
        told = Path(config.workerinput["exclusive_tests"])
        part = told.with_name(config.workerinput["workerid"])
        part.write_text("\n".join(item.nodeid for item in items if _is_exclusive(item)))
        part.replace(told)


def _is_exclusive(item: pytest.Item) -> bool:
    return item.get_closest_marker("exclusive") is not None


class _Dealing:
    """Of the process that starts the workers."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-tests-")
        self._exclusive = Path(self._folder.name, "exclusive")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["exclusive_tests"] = str(self._exclusive)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> "Dealer":
        return Dealer(len(config.option.tx), lambda: frozenset(self._exclusive.read_text().splitlines()))

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


class Worker(Protocol):
    """What is used of xdist's."""

    shutting_down: bool

    def send_runtest_some(self, indices: Sequence[int]) -> None: ...

    def shutdown(self) -> None: ...


class Dealer:
    """Deals tests out to workers; what xdist calls a scheduler."""

    def __init__(self, workers: int, exclusive: Callable[[], frozenset[str]]) -> None:
        """`exclusive` names tests that are to run by themselves, as soon as any worker has found them."""
        self._expected = workers
        self._name_exclusive = exclusive
        self._names: dict[Worker, list[str]] = {}
        self._in_hand: dict[Worker, list[int]] = {}
        """By worker the tests that it was given and has not ended."""
        self._hands: deque[list[int]] = deque()
        """Those to be given together, of all tests that are not exclusive."""
        self._exclusive: list[int] = []
        self._has_begun = False

    @property
    def nodes(self) -> list[Worker]:
        return list(self._in_hand)

    @property
    def collection_is_completed(self) -> bool:
        return len(self._names) >= self._expected

    @property
    def has_pending(self) -> bool:
        return bool(self._hands or self._exclusive or any(self._in_hand.values()))

    @property
    def tests_finished(self) -> bool:
        """Whether all tests are dealt out; each worker may still have its last test to run."""
        waiting = self._hands or self._exclusive or not self._has_begun
        return not waiting and all(len(given) < FEWEST_IN_HAND for given in self._in_hand.values())

    def add_node(self, node: Worker) -> None:
        self._in_hand[node] = []

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        self._names[node] = names = list(collection)
        if next(iter(self._names.values())) != names:
            raise pytest.UsageError("workers have found different tests, which must not depend on chance or time")

    def schedule(self) -> None:
        if not self._has_begun:
            names = next(iter(self._names.values()))
            self._has_begun = True
            exclusive = self._name_exclusive()
            self._exclusive = [number for number, name in enumerate(names) if name in exclusive]
            self._hands.extend(_hands(names, (number for number, name in enumerate(names) if name not in exclusive)))
        self._deal()

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        self._in_hand[node].remove(item_index)
        self._deal()

    def mark_test_pending(self, item: str) -> None:
        self._hands.appendleft([next(iter(self._names.values())).index(item)])
        self._deal()

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        raise AssertionError("nothing is taken back from workers")

    def remove_node(self, node: Worker) -> str | None:
        """The name of the test during which a worker has crashed, if it has."""
        left = self._in_hand.pop(node)
        crashed = self._names[node][left.pop(0)] if left else None
        if left:
            self._hands.appendleft(left)
        self._deal()
        return crashed

    def _deal(self) -> None:
        for worker, given in self._in_hand.items():
            while self._hands and len(given) < FEWEST_IN_HAND and not worker.shutting_down:
                self._give(worker, self._hands.popleft())
        if self._hands or not self._has_begun:
            return
        if self._exclusive and len(self._in_hand) == 1:
            (last,) = self._in_hand
            if not last.shutting_down:
                self._give(last, self._exclusive)
                self._exclusive = []
        for worker, given in self._in_hand.items():
            staying = [one for one in self._in_hand if not one.shutting_down]
            if len(given) < FEWEST_IN_HAND and worker in staying and not (self._exclusive and len(staying) == 1):
                worker.shutdown()  # It runs its last test now.

    def _give(self, worker: Worker, tests: list[int]) -> None:
        self._in_hand[worker].extend(tests)
        worker.send_runtest_some(tests)


def _hands(names: Sequence[str], tests: Iterable[int]) -> Iterable[list[int]]:
    """Tests of one file that follow each other, not too many at once."""
    for _, of_file in groupby(tests, lambda number: names[number].partition("::")[0]):
        together = list(of_file)
        for begin in range(0, len(together), MOST_AT_ONCE):
            yield together[begin : begin + MOST_AT_ONCE]
