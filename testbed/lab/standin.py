"""The stand-in for images, as the lab's process sees it: containers to serve go in, their states come out.

One thread owns the stand-in's process (`testbed.programs.standin`) and the socket to it. Callers only leave orders and
read states, so they never wait for the process. If the process dies, it is started again and serves all containers
again; their network namespaces are still open here.
"""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from testbed.programs.standin.model import Facts, Port

__all__ = ["Facts", "Port", "Served", "ServedState", "StandIn"]

GRACE_S = 30.0
"""The grace period of Kubernetes."""
_HERE = Path(__file__).parents[2]
"""The folder that contains `testbed`."""
_PROGRAM = "testbed.programs.standin"
_MOST_ORDERS = 100
"""Orders of one message; `serve` has at most one descriptor each."""
_MOST_BYTES = 64 << 10
"""Bytes of a message after which no order is added; a socket's buffer has 208 KiB by default."""
_LARGEST_EVENTS = 256 << 10
_RESTART_S = 1.0
"""Least time between two starts of the process."""
_END_PATIENCE_S = 2.0
KILLED = 137
"""The exit code of a container that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A container to serve."""

    id: str
    """Unique in the lab."""
    network: int
    """Descriptor of the pod's network namespace. It must stay open until the container was stopped."""
    facts: Facts
    ports: tuple[Port, ...] = ()
    """Those of `ports` of the container, and those that its command line names."""
    delay_s: float = 0.0
    """Time that it goes on serving after `stop`."""
    ready_paths: tuple[str, ...] = ()
    """HTTP paths that answer 503 while it is not ready, besides /healthz and /readyz, and as usual while it is."""

    @classmethod
    def of(
        cls,
        *,
        id: str,
        network: int,
        facts: Facts,
        ports: Iterable[Port] = (),
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        ready_paths: Iterable[str] = (),
    ) -> "Served":
        """A container with these ports and command line. That of agnhost can add ports, and a delay at the end."""
        delay_s, named = 0.0, tuple[Port, ...]()
        from testbed.programs.standin import agnhost  # It takes time to load, and is rarely needed.

        if agnhost.is_agnhost(facts.image):
            named, delay_s = agnhost.ports(arguments, environment or {}, facts.host_name), agnhost.delay_s(arguments)
        # What the command line says of a port is more than its number.
        distinct = {(port.number, port.protocol): port for port in (*ports, *named)}
        return cls(
            id=id,
            network=network,
            facts=facts,
            ports=tuple(distinct.values()),
            delay_s=delay_s,
            ready_paths=tuple(ready_paths),
        )


@dataclass(frozen=True, slots=True)
class ServedState:
    phase: Literal["starting", "serving", "failed", "ended"] = "starting"
    reason: str = ""
    """Why it failed, such as `port 80/TCP: address already in use by container web`."""
    exit_code: int | None = None
    """Once it has failed or ended."""
    left_out: tuple[str, ...] = ()
    """Ports that this kernel cannot serve, with the reason."""
    ready: bool = True
    """As set by `set_ready`, or by a POST to /readyz in the lab."""


_STARTING = ServedState()
_SERVING = ServedState("serving")
_LIVING = ("starting", "serving")
"""Phases in which a container has sockets, or soon will."""


@dataclass(slots=True)
class _Entry:
    served: Served
    state: ServedState = _STARTING
    is_stopping: bool = False


class _Message(NamedTuple):
    kind: str
    orders: list[str]
    """Each a JSON array."""
    networks: list[int]
    """The descriptors that go with `serve`, to which orders refer by position."""

    @property
    def data(self) -> bytes:
        return f'{{"{self.kind}": [{", ".join(self.orders)}]}}'.encode()

    def split(self) -> list["_Message"]:
        """Messages of one order each; the last comes first."""
        singles = []
        for text in self.orders:
            number, network, *rest = json.loads(text)
            singles.append(_Message(self.kind, [json.dumps([number, 0, *rest])], [self.networks[network]]))
        return singles[::-1]


class _Died(Exception):
    """The process has ended."""


class StandIn:
    """The process and its containers. All methods may be called from any thread."""

    def __init__(self, notify: Callable[[], None]) -> None:
        """Start nothing yet: the process starts with the first container. `notify` is called after states changed."""
        self._notify = notify
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        """By id: the number of its latest start."""
        self._entries: dict[int, _Entry] = {}
        self._next = 1
        self._orders: deque[tuple[str, int, Any]] = deque()
        """Kind, number and value of orders that are not yet sent."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = threading.Event()

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def serve(self, containers: Sequence[Served]) -> None:
        """Serve containers. One that is served already is left alone; one that has failed or ended starts again."""
        with self._lock:
            for served in containers:
                entry = self._entries.get(self._numbers.get(served.id, 0))
                if entry is not None:
                    if entry.state.phase in _LIVING and not entry.is_stopping:
                        continue
                    self._orders.append(("stop", self._numbers[served.id], 0.0))
                    del self._entries[self._numbers[served.id]]
                number = self._numbers[served.id] = self._next
                self._next += 1
                self._entries[number] = _Entry(served)
                self._orders.append(("serve", number, None))
            if self._thread is None and self._orders and not self._ending.is_set():
                self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
                self._thread.start()
        self._wake_up()

    def stop(self, ids: Sequence[str], grace_s: float = GRACE_S) -> None:
        """End containers. One with a delay goes on for that time, but no longer than the grace period; a second call
        with less grace shortens it."""
        with self._lock:
            for number, entry in self._living(ids):
                entry.is_stopping = True
                self._orders.append(("stop", number, grace_s))
        self._wake_up()

    def set_ready(self, id: str, ready: bool) -> None:
        """Let /healthz, /readyz and the container's own paths answer 200 or 503."""
        with self._lock:
            for number, entry in self._living([id]):
                entry.state = replace(entry.state, ready=ready)
                self._orders.append(("ready", number, ready))
        self._wake_up()

    def forget(self, ids: Sequence[str]) -> None:
        """End containers at once, and drop their states."""
        with self._lock:
            for id in ids:
                number = self._numbers.pop(id, 0)
                entry = self._entries.pop(number, None)
                if entry is not None and entry.state.phase in _LIVING:
                    self._orders.append(("stop", number, 0.0))
        self._wake_up()

    def states(self) -> Mapping[str, ServedState]:
        """The states of all containers by id."""
        with self._lock:
            return {id: self._entries[number].state for id, number in self._numbers.items()}

    def down(self) -> None:
        """End the process and its containers; may be called twice."""
        with self._lock:
            if self._ending.is_set():
                return
            self._ending.set()
            os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake)

    def _living(self, ids: Iterable[str]) -> Iterator[tuple[int, _Entry]]:
        for id in ids:
            number = self._numbers.get(id, 0)
            entry = self._entries.get(number)
            if entry is not None and entry.state.phase in _LIVING:
                yield number, entry

    def _wake_up(self) -> None:
        with self._lock:
            if not self._ending.is_set():  # `down` closes the descriptor, whose number can then belong to another file.
                os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._ending.is_set():
            begin = time.monotonic()
            try:
                connection = self._start()
            except OSError as error:
                self._fail_all(f"the stand-in cannot start: {error.strerror or error}")
            else:
                with connection, suppress(_Died):
                    self._converse(connection)
                self._end_process()
            if not self._ending.is_set():
                self._begin_again()
                self._ending.wait(max(0.0, begin + _RESTART_S - time.monotonic()))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command(theirs.fileno()),
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def _end_process(self) -> None:
        """Its connection is closed, at which it ends."""
        assert self._process
        try:
            self._process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _converse(self, connection: socket.socket) -> None:
        """Send orders and receive events until `down`. Raises _Died."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        waiting: deque[_Message] = deque()
        while not self._ending.is_set():
            if not waiting:
                waiting.extend(self._message())
            poll.register(connection, select.POLLIN | (select.POLLOUT if waiting else 0))
            ready = dict(poll.poll())
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            at = ready.get(connection.fileno(), 0)
            if at & ~select.POLLOUT:
                self._receive(connection)
            if waiting and at & select.POLLOUT:
                waiting.extendleft(self._send(connection, waiting.popleft()))

    def _message(self) -> list["_Message"]:
        """The next orders of one kind, as one message; none if there are no orders."""
        with self._lock:
            orders: list[str] = []
            networks: dict[int, int] = {}
            size = 0
            kind = self._orders[0][0] if self._orders else ""
            while self._orders and self._orders[0][0] == kind and len(orders) < _MOST_ORDERS and size < _MOST_BYTES:
                _, number, value = self._orders.popleft()
                if kind != "serve":
                    orders.append(json.dumps([number, value]))
                elif entry := self._entries.get(number):
                    served = entry.served
                    index = networks.setdefault(served.network, len(networks))
                    order = (number, index, served.facts, served.ports, served.delay_s, served.ready_paths)
                    orders.append(json.dumps([*order, entry.state.ready]))
                else:
                    continue
                size += len(orders[-1])
        return [_Message(kind, orders, list(networks))] if orders else []

    def _send(self, connection: socket.socket, message: "_Message") -> list["_Message"]:
        """Send a message, and return what has to be sent again."""
        try:
            socket.send_fds(connection, [message.data], message.networks)
        except (BlockingIOError, InterruptedError):
            return [message]
        except (BrokenPipeError, ConnectionResetError):
            raise _Died from None
        except OSError as error:
            if len(message.orders) > 1:  # Only some of the descriptors may be bad.
                return message.split()
            reason = f"cannot be served: {(error.strerror or str(error)).lower()}"
            self._take([(json.loads(message.orders[0])[0], "failed", reason)])
        return []

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_LARGEST_EVENTS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            raise _Died
        self._take(json.loads(data))

    def _take(self, events: Iterable[Sequence[Any]]) -> None:
        with self._lock:
            for number, event, value in events:
                entry = self._entries.get(number)
                if entry is not None:  # Otherwise forgotten, or started again.
                    entry.state = _EVENTS[event](entry.state, value)
        self._notify()

    def _fail_all(self, reason: str) -> None:
        with self._lock:
            living = [number for number, entry in self._entries.items() if entry.state.phase in _LIVING]
        self._take([(number, "failed", reason) for number in living])

    def _begin_again(self) -> None:
        """Order all living containers again, from a process that knows nothing. Those about to end have ended."""
        with self._lock:
            self._orders.clear()
            for number, entry in self._entries.items():
                if entry.state.phase not in _LIVING:
                    continue
                if entry.is_stopping:
                    entry.state = _ended(entry.state, KILLED)
                else:
                    entry.state = ServedState(ready=entry.state.ready)
                    self._orders.append(("serve", number, None))
        self._notify()


def command(descriptor: int) -> list[str]:
    """The command line of the process, which reads orders from this socket."""
    return [sys.executable, "-S", "-P", "-m", _PROGRAM, str(descriptor)]


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(_HERE), "LC_ALL": "C.UTF-8"}


def _serving(state: ServedState, left_out: Sequence[str]) -> ServedState:
    return (
        _SERVING if state == _STARTING and not left_out else replace(state, phase="serving", left_out=tuple(left_out))
    )


def _failed(state: ServedState, reason: str) -> ServedState:
    return replace(state, phase="failed", reason=reason, exit_code=1, ready=False)


def _ended(state: ServedState, code: int) -> ServedState:
    return replace(state, phase="ended", exit_code=code, ready=False)


def _ready(state: ServedState, ready: bool) -> ServedState:
    return replace(state, ready=ready)


_EVENTS: Mapping[str, Callable[[ServedState, Any], ServedState]] = {
    "serving": _serving,
    "failed": _failed,
    "ended": _ended,
    "ready": _ready,
}
