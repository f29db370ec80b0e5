"""Programs of containers: started in a place, awaited and ended without a thread for each."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from testbed.lab.places import Places

CHUNK_BYTES = 65536
PAUSE_S = 0.01
LAST_CHUNKS = 16
"""Most chunks of output taken after the program has ended."""
Take = Callable[[bytes], None]


class Process:
    """A running program with its output; it leads a process group, which ends with it."""

    def __init__(self, process: "subprocess.Popen[bytes]", take: Take) -> None:
        assert process.stdout
        self._process, self._take = process, take
        self._out = process.stdout.fileno()
        os.set_blocking(self._out, False)
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    @classmethod
    async def start(
        cls,
        places: Places,
        place: str,
        words: Sequence[str],
        take: Take,
        environment: Mapping[str, str],
        folder: str = "",
    ) -> "Process":
        """Start a program in a place; `take` gets its output. Raises OSError."""

        def started() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                words,
                cwd=folder or "/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        # In another thread, since the first program of a place has to create its folders.
        starting = asyncio.get_running_loop().run_in_executor(None, partial(places.within, place, started))
        try:
            return cls(await asyncio.shield(starting), take)
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_started)
            raise

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._out, self._hear)

    def _hear(self) -> None:
        """Take what the program has printed. After much of it, pause, so that no program keeps the loop busy."""
        size = self._read()
        if size in (0, CHUNK_BYTES):
            asyncio.get_running_loop().remove_reader(self._out)
        if size == CHUNK_BYTES:
            self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._listen)

    def _read(self) -> int:
        """Take output; how many bytes, 0 at its end or if there is none."""
        with suppress(BlockingIOError):
            data = os.read(self._out, CHUNK_BYTES)
            self._take(data)
            return len(data)
        return 0

    async def ended(self) -> int:
        """Wait for its end. The exit code, or the negative number of the signal that ended it."""
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self._process.pid)
        try:
            await _readable(loop, descriptor)
        except asyncio.CancelledError:
            self.send(signal.SIGKILL, to_group=True)
            self._process.wait()
            raise
        finally:
            os.close(descriptor)
            self._close()
        return self._process.wait()

    def _close(self) -> None:
        """Kill what is left of the group, and take the last output."""
        self.send(signal.SIGKILL, to_group=True)
        if self._pause:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._out)
        left = LAST_CHUNKS
        while left and self._read():
            left -= 1
        assert self._process.stdout
        self._process.stdout.close()

    def send(self, number: int, to_group: bool = False) -> None:
        """Send a signal to the program, or to its whole group; nothing if it has ended."""
        with suppress(ProcessLookupError):
            (os.killpg if to_group else os.kill)(self._process.pid, number)


async def _readable(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    found = asyncio.Event()
    loop.add_reader(descriptor, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(descriptor)


def _kill_started(starting: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    if not starting.cancelled() and starting.exception() is None:
        process = starting.result()
        process.kill()
        process.communicate()


async def execute(
    places: Places, place: str, words: Sequence[str], environment: Mapping[str, str], patience_s: float
) -> tuple[int | None, str]:
    """Run a program to its end: its exit code, None if it was killed after its time, and its output."""
    printed = bytearray()
    try:
        process = await Process.start(places, place, words, printed.extend, environment)
    except OSError as error:
        return 127, str(error)
    code: int | None = None
    with suppress(TimeoutError):
        code = await asyncio.wait_for(process.ended(), patience_s)
    return code, printed[-CHUNK_BYTES:].decode(errors="replace")
