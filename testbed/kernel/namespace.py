"""Network namespaces, held by file descriptors.

A namespace lives while a process is in it or a descriptor of it is open. Descriptors need no process for each pod, and
the kernel frees the namespaces when their holder ends in any way.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from testbed.kernel.syscalls import CLONE_NEWNET, setns, unshare

# The file of the thread, not of the process: each thread has its own namespaces.
_CURRENT = "/proc/thread-self/ns/net"


class Namespace:
    """A network namespace. Closing it frees it, unless a process is still in it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Self:
        """A new, empty namespace."""
        with _restored():
            unshare(CLONE_NEWNET)
            return cls(_open(_CURRENT))

    @classmethod
    def create_many(cls, number: int) -> Generator[Self, None, None]:
        """New, empty namespaces. The calling thread is in the yielded one, until the generator ends or is closed.

        Cheaper than to create each one and enter it for its first settings.
        """
        with _restored():
            for _ in range(number):
                unshare(CLONE_NEWNET)
                yield cls(_open(_CURRENT))

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """The namespace of a process."""
        return cls(_open(f"/proc/{pid}/ns/net"))

    @classmethod
    def at(cls, path: Path) -> Self:
        """The namespace bound to a file, as by `ip netns` in /run/netns."""
        return cls(_open(path))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the namespace; sockets that are opened and processes that are started in it stay there.

        A process inherits the namespaces of the thread that forks it, so `subprocess` just works. /proc/sys/net shows
        the settings of the thread that opens the file.
        """
        with _restored():
            setns(self.fd, CLONE_NEWNET)
            yield

    def close(self) -> None:
        os.close(self.fd)


def _open(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _restored() -> Iterator[None]:
    before = _open(_CURRENT)
    try:
        yield
    finally:
        try:
            setns(before, CLONE_NEWNET)
        finally:
            os.close(before)
