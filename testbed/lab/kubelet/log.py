"""Output of containers, kept in memory."""

import threading

LOG_BYTES = 256 * 1024
"""Most output that is kept of one run of a container."""


class Log:
    """Output of one run of a container. Of more than LOG_BYTES, the oldest lines are dropped."""

    def __init__(self, run: int = 0) -> None:
        self.run = run
        """Number of the run: how often the container had been restarted."""
        self._data = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()
        self.is_closed = False
        """Whether the container has ended."""

    def write(self, data: bytes) -> None:
        with self._lock:
            self._data += data
            if (excess := len(self._data) - LOG_BYTES) > 0:
                # An eighth more, so that not every write moves the whole.
                end = self._data.find(b"\n", excess + LOG_BYTES // 8) + 1 or excess
                del self._data[:end]
                self._dropped += end

    def read(self, after: int = 0) -> tuple[bytes, int]:
        """The output after a position, and the position after it. Positions count dropped output too."""
        with self._lock:
            begin = max(0, after - self._dropped)
            return bytes(self._data[begin:]), self._dropped + len(self._data)
