"""One run at a time: two runs that measure on the same CPUs at once would disturb each other."""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAME = "\0testbed run"
"""Name of an abstract socket on the host: needs no file, and is freed when the last process of the run ends."""
_PAUSE_S = 1.0


@contextmanager
def alone(on_wait: Callable[[], None]) -> Iterator[None]:
    """Wait until no other run is measuring on this machine; call `on_wait` once before waiting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as mark:
        waited = False
        while not _taken(mark):
            if not waited:
                on_wait()
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
