"""The socket to the parent: containers and their network namespaces come in, states go out.

Messages are JSON objects, each with the orders of one kind: `serve` has one descriptor for each network, `stop` and
`ready` have none. Containers have numbers, which the parent never uses twice. Events are lists of [number, state, ...]:

- `serving`, reasons of ports that are left out; `failed`, reason; `ended`, exit code; `ready`, whether it is.
"""

import asyncio
import gc
import json
import os
import resource
import socket
from collections.abc import Sequence
from typing import Any

from testbed.programs.standin.container import CannotServe, Container
from testbed.programs.standin.model import Facts, Port
from testbed.programs.standin.networks import entered
from testbed.programs.standin.servers import serve

_LARGEST_MESSAGE = 256 << 10
_MOST_DESCRIPTORS = 253
"""The kernel's limit for one message."""
_EVENTS = 500
"""Most events of one message."""
_WANTED_DESCRIPTORS = 1 << 20


async def serve_parent(descriptor: int) -> None:
    """Serve until the parent closes its end or dies."""
    _raise_limit()
    gc.freeze()
    control = Control(socket.socket(fileno=descriptor))
    await control.closed.wait()


def _raise_limit() -> None:
    """Each port needs a descriptor. Only root may exceed the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (_WANTED_DESCRIPTORS, most):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, most)))
        except (ValueError, OSError):
            continue
        return


class Control:
    def __init__(self, sock: socket.socket) -> None:
        self.closed = asyncio.Event()
        self._sock = sock
        self._containers: dict[int, Container] = {}
        self._events: list[Sequence[Any]] = []
        self._sending: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, _LARGEST_MESSAGE, _MOST_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.closed.set()
            return
        try:
            for kind, orders in json.loads(data).items():
                for order in orders:
                    _ORDERS[kind](self, descriptors, *order)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _serve(
        self,
        descriptors: Sequence[int],
        number: int,
        network: int,
        facts: Sequence[Any],
        ports: Sequence[Sequence[Any]],
        delay_s: float,
        ready_paths: Sequence[str],
        ready: bool,
    ) -> None:
        container = Container(
            number,
            Facts(*facts),
            tuple(Port(*port) for port in ports),
            delay_s,
            tuple(ready_paths),
            self._changed,
        )
        container.ready = ready
        if network >= len(descriptors):
            self._tell(number, "failed", "cannot enter the network of the pod: too many open files")
            return
        try:
            container.network = os.fstat(descriptors[network]).st_ino
            with entered(descriptors[network]):
                left_out = container.open()
        except CannotServe as error:
            self._tell(number, "failed", f"{error}{self._holder(container, error)}")
            return
        except OSError as error:
            self._tell(
                number, "failed", f"cannot enter the network of the pod: {(error.strerror or str(error)).lower()}"
            )
            return
        self._containers[number] = container
        serve(container)
        self._tell(number, "serving", left_out)

    def _holder(self, wanting: Container, error: CannotServe) -> str:
        """Which container of the same network has the port, if one has."""
        name, _, _ = str(error).partition(":")
        for other in self._containers.values():
            if other.network == wanting.network and name in map(str, other.ports):
                where = "" if other.facts.pod == wanting.facts.pod else f" of pod {other.facts.pod}"
                return f" by container {other.facts.container}{where}"
        return ""

    def _stop(self, _: Sequence[int], number: int, grace_s: float) -> None:
        if number in self._containers:
            self._containers[number].stop(grace_s)

    def _set_ready(self, _: Sequence[int], number: int, ready: bool) -> None:
        if number in self._containers:
            self._containers[number].set_ready(ready)

    def _changed(self, container: Container, code: int | None) -> None:
        if code is None:
            self._tell(container.number, "ready", container.ready)
        else:
            del self._containers[container.number]
            self._tell(container.number, "ended", code)

    def _tell(self, *event: Any) -> None:
        self._events.append(event)
        if self._sending is None:
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._events:
                some, self._events = self._events[:_EVENTS], self._events[_EVENTS:]
                await self._loop.sock_sendall(self._sock, json.dumps(some).encode())
        except OSError:
            self.closed.set()
        finally:
            self._sending = None


_ORDERS: dict[str, Any] = {"serve": Control._serve, "stop": Control._stop, "ready": Control._set_ready}
