"""One run at a time: two that measure on the same CPUs at once would both be wrong."""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAME = "\0testbed run"
"""An abstract socket of the host's: it needs no file, and goes with the last process of the run, however that ends."""
_PAUSE_S = 1.0


@contextmanager
def alone(told_to_wait: Callable[[], None]) -> Iterator[None]:
    """Waits until no other run is measuring on this machine; calls `told_to_wait` once, if there is one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as mark:
        waited = False
        while not _taken(mark):
            if not waited:
                told_to_wait()
            waited = True
            time.sleep(_PAUSE_S)
        yield


def _taken(mark: socket.socket) -> bool:
    try:
        mark.bind(_NAME)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True
