"""Network namespaces, held by file descriptors.

A namespace lives as long as somebody holds it: a process in it, or an open descriptor. Holding descriptors costs no
process a pod, and when the holder dies, however it dies, the kernel frees them.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from testbed.kernel.syscalls import CLONE_NEWNET, setns, unshare

# The thread's own file, not the process's: each thread has namespaces of its own.
_CURRENT = "/proc/thread-self/ns/net"


class Namespace:
    """A network namespace. Closing it gives it back to the kernel, unless a process is still in it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Self:
        """A new, empty namespace."""
        with _back_where_we_were():
            unshare(CLONE_NEWNET)
            return cls(_open(_CURRENT))

    @classmethod
    def create_many(cls, number: int) -> Generator[Self, None, None]:
        """New, empty ones. While one is yielded the calling thread is inside, until all are or the generator is closed.

        Cheaper than to create each by itself and to enter it for its first settings.
        """
        with _back_where_we_were():
            for _ in range(number):
                unshare(CLONE_NEWNET)
                yield cls(_open(_CURRENT))

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """The one that a process is in."""
        return cls(_open(f"/proc/{pid}/ns/net"))

    @classmethod
    def at(cls, path: Path) -> Self:
        """The one bound to a file, as `ip netns` does under /run/netns."""
        return cls(_open(path))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside; sockets that it opens and processes that it starts stay there.

        A process inherits the namespaces of the thread that forks it, so `subprocess` needs no help here. /proc/sys/net
        shows the settings of the thread that opens the file.
        """
        with _back_where_we_were():
            setns(self.fd, CLONE_NEWNET)
            yield

    def close(self) -> None:
        os.close(self.fd)


def _open(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _back_where_we_were() -> Iterator[None]:
    before = _open(_CURRENT)
    try:
        yield
    finally:
        try:
            setns(before, CLONE_NEWNET)
        finally:
            os.close(before)
