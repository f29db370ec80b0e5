"""One run of a container: a program of the machine, a stand-in for its image, or nothing."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from testbed.lab.kubelet.log import Log
from testbed.lab.kubelet.process import Process
from testbed.lab.kubelet.standins import StandIns
from testbed.lab.places import Places
from testbed.lab.standin import Served

SIGNALLED = 128
"""Exit code of a program that a signal ended, minus the number of the signal."""
CANNOT_START = 128
"""Exit code of a container whose program cannot be started."""


class Exit(NamedTuple):
    """How a run ended."""

    code: int
    message: str = ""
    reason: str = ""

    @property
    def why(self) -> str:
        return self.reason or ("Error" if self.code else "Completed")


class Run(Protocol):
    """A run that has begun."""

    async def ended(self) -> Exit:
        """Wait for its end; what is left of it is ended if the caller is cancelled."""

    def stop(self, number: int, grace_s: float) -> None:
        """Ask it to end within a grace period, by a signal if it is a program."""

    def kill(self) -> None:
        """End it at once."""


class Idle:
    """A container in which nothing runs, as in `pause`."""

    def __init__(self) -> None:
        self._end: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def ended(self) -> Exit:
        return await self._end

    def end(self, code: int = 0, message: str = "") -> None:
        """End the run, unless it has ended."""
        if not self._end.done():
            self._end.set_result(Exit(code, message))

    def stop(self, number: int, grace_s: float) -> None:
        self.end()

    def kill(self) -> None:
        self.end(SIGNALLED + signal.SIGKILL)


class Standing(Idle):
    """A container that the stand-in serves."""

    def __init__(self, standins: StandIns, served: Served) -> None:
        super().__init__()
        self._standins, self._served = standins, served
        self.serving: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when all ports are served; the ports that this kernel cannot serve, with the reason."""
        standins.serve(self, served)

    @property
    def id(self) -> str:
        return self._served.id

    async def ended(self) -> Exit:
        try:
            return await super().ended()
        finally:
            self._standins.forget(self)

    def serves(self, left_out: str = "") -> None:
        """Note that all ports are served that this kernel can serve."""
        if not self.serving.done():
            self.serving.set_result(left_out)

    def end(self, code: int = 0, message: str = "") -> None:
        super().end(code, message)
        self.serves()

    def set_ready(self, ready: bool) -> None:
        self._standins.set_ready(self, ready)

    def stop(self, number: int, grace_s: float) -> None:
        self._standins.stop(self, grace_s)


class Programmed:
    """A container with a program of the machine."""

    def __init__(self, process: Process, log: Log) -> None:
        self._process, self._log = process, log

    @classmethod
    async def start(
        cls, places: Places, place: str, words: Sequence[str], environment: Mapping[str, str], folder: str, log: Log
    ) -> "Programmed":
        """Start the program. Raises OSError."""
        return cls(await Process.start(places, place, words, log.write, environment, folder), log)

    async def ended(self) -> Exit:
        try:
            code = await self._process.ended()
        finally:
            self._log.is_closed = True
        return Exit(code if code >= 0 else SIGNALLED - code)

    def stop(self, number: int, grace_s: float) -> None:
        self._process.send(number)

    def kill(self) -> None:
        self._process.send(signal.SIGKILL, to_group=True)
