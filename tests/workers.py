"""A plugin for pytest: tests run in parallel in several workers (pytest-xdist), except those marked `exclusive`.

The whole suite has one worker more than there are CPUs, as tests of labs often wait for the kernel. Tests of files
named on the command line run in pytest's own process. Exclusive tests measure times, or check state that all tests of
the machine share. They run last, in one worker, after all other tests and the virtual machine (`tests.where`).
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
"""Most tests of one file that are assigned together; they can share the file's fixtures."""
MIN_ASSIGNED = 2
"""A worker starts a test only when it knows the next one."""


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Number of workers for `-n auto`."""
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return len(os.sched_getaffinity(0)) + 1 if is_whole else 0


def pytest_configure(config: pytest.Config) -> None:
    if config.option.dist != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Scheduling())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort exclusive tests last; workers write their names to a file."""
    items.sort(key=_is_exclusive)
    if hasattr(config, "workerinput"):
        file = Path(config.workerinput["exclusive_tests"])
        part = file.with_name(config.workerinput["workerid"])
        part.write_text("\n".join(item.nodeid for item in items if _is_exclusive(item)))
        part.replace(file)


def _is_exclusive(item: pytest.Item) -> bool:
    return item.get_closest_marker("exclusive") is not None


class _Scheduling:
    """Hooks of the process that starts the workers."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-tests-")
        self._exclusive = Path(self._folder.name, "exclusive")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["exclusive_tests"] = str(self._exclusive)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> "Scheduler":
        return Scheduler(len(config.option.tx), lambda: frozenset(self._exclusive.read_text().splitlines()))

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()


class Worker(Protocol):
    """The used part of xdist's workers."""

    shutting_down: bool

    def send_runtest_some(self, indices: Sequence[int]) -> None: ...

    def shutdown(self) -> None: ...


class Scheduler:
    """Assigns tests to workers; a scheduler of xdist."""

    def __init__(self, workers: int, exclusive: Callable[[], frozenset[str]]) -> None:
        """`exclusive` returns the names of exclusive tests; it can be called when a worker has collected its tests."""
        self._expected = workers
        self._name_exclusive = exclusive
        self._names: dict[Worker, list[str]] = {}
        self._assigned: dict[Worker, list[int]] = {}
        """By worker: the assigned tests that have not ended."""
        self._chunks: deque[list[int]] = deque()
        """Chunks of tests to assign together, without exclusive tests."""
        self._exclusive: list[int] = []
        self._has_begun = False

    @property
    def nodes(self) -> list[Worker]:
        return list(self._assigned)

    @property
    def collection_is_completed(self) -> bool:
        return len(self._names) >= self._expected

    @property
    def has_pending(self) -> bool:
        return bool(self._chunks or self._exclusive or any(self._assigned.values()))

    @property
    def tests_finished(self) -> bool:
        """Whether all tests are assigned; each worker may still have to run its last test."""
        waiting = self._chunks or self._exclusive or not self._has_begun
        return not waiting and all(len(assigned) < MIN_ASSIGNED for assigned in self._assigned.values())

    def add_node(self, node: Worker) -> None:
        self._assigned[node] = []

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        self._names[node] = names = list(collection)
        if next(iter(self._names.values())) != names:
            raise pytest.UsageError("workers have collected different tests; collection must be deterministic")

    def schedule(self) -> None:
        if not self._has_begun:
            names = next(iter(self._names.values()))
            self._has_begun = True
            exclusive = self._name_exclusive()
            self._exclusive = [number for number, name in enumerate(names) if name in exclusive]
            self._chunks.extend(_chunks(names, (number for number, name in enumerate(names) if name not in exclusive)))
        self._assign()

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        self._assigned[node].remove(item_index)
        self._assign()

    def mark_test_pending(self, item: str) -> None:
        self._chunks.appendleft([next(iter(self._names.values())).index(item)])
        self._assign()

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        raise AssertionError("assigned tests are never removed")

    def remove_node(self, node: Worker) -> str | None:
        """The name of the test during which a worker has crashed; None if it has not."""
        left = self._assigned.pop(node)
        crashed = self._names[node][left.pop(0)] if left else None
        if left:
            self._chunks.appendleft(left)
        self._assign()
        return crashed

    def _assign(self) -> None:
        for worker, assigned in self._assigned.items():
            while self._chunks and len(assigned) < MIN_ASSIGNED and not worker.shutting_down:
                self._give(worker, self._chunks.popleft())
        if self._chunks or not self._has_begun:
            return
        if self._exclusive and len(self._assigned) == 1:
            (last,) = self._assigned
            if not last.shutting_down:
                self._give(last, self._exclusive)
                self._exclusive = []
        for worker, assigned in self._assigned.items():
            staying = [one for one in self._assigned if not one.shutting_down]
            if len(assigned) < MIN_ASSIGNED and worker in staying and not (self._exclusive and len(staying) == 1):
                worker.shutdown()  # This makes it run its last test.

    def _give(self, worker: Worker, tests: list[int]) -> None:
        self._assigned[worker].extend(tests)
        worker.send_runtest_some(tests)


def _chunks(names: Sequence[str], tests: Iterable[int]) -> Iterable[list[int]]:
    """Split tests into chunks of successive tests of one file, at most MOST_AT_ONCE each."""
    for _, of_file in groupby(tests, lambda number: names[number].partition("::")[0]):
        together = list(of_file)
        for begin in range(0, len(together), MOST_AT_ONCE):
            yield together[begin : begin + MOST_AT_ONCE]
