"""Share work between processes."""

import os
import pickle
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from typing import IO, TypeVar

from testbed.kernel.syscalls import die_with_parent

T = TypeVar("T")


def shared(work: Callable[[int, int], T], total: int) -> list[T]:
    """The results of `work(number, total)` for each of `total` parts.

    All parts except the first run in forks of this process, which share its open files and end with it. Results and
    exceptions must be picklable.
    """
    children: list[tuple[int, IO[bytes]]] = []
    try:
        for number in range(1, total):
            file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, and by the child's end
            children.append((_forked(partial(work, number, total), file), file))
        results = [work(0, total)]
        for child, news in list(children):
            _, status = os.waitpid(child, 0)
            children.remove((child, news))
            with news:
                news.seek(0)
                data = news.read()
            if not data:
                raise RuntimeError(f"worker process ended early (wait status {status})")
            result, error = pickle.loads(data)
            if error is not None:
                raise error
            results.append(result)
        return results
    finally:
        for child, news in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            news.close()


def _forked(work: Callable[[], T], news: IO[bytes]) -> int:
    """Fork a process that does the work and pickles its result to a file; return its PID."""
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent(signal.SIGKILL)
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = (work(), None)
        except BaseException as error:  # noqa: BLE001 - raised again by the parent
            outcome = (None, error)
        news.write(pickle.dumps(outcome))
        news.flush()
    finally:
        os._exit(0)
