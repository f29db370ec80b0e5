"""Ask for large messages back: over UDP, TCP and SCTP, larger than the path's MTU, so that IP or TCP divides them.

The end-to-end tests of Kubernetes send 2,000 bytes (test/e2e/network/networking.go, "should be able to handle large
requests"). All pods of two nodes share one path, so one pair of pods is tested for each pair of nodes.
"""

import secrets
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import NamedTuple, Self

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.path_mtu import NO_ANSWER, Path, paths_in_batches
from testbed.observe.ports import REACH_PORT
from testbed.plan.objects import Plan
from testbed.spec.types import Address

SIZE, _MORE = 2000, 500
"""Bytes of a message: at least the first, and so many more than the pod MTU."""
_SILENCE_S = 2.2
"""The messages on their way are lost when none came back for this time."""
_AGAIN_S = 0.5
_RECEIVE = 1 << 16
SCTP_LACKS = "needs a kernel with CONFIG_IP_SCTP"
_KINDS = {
    "udp": (socket.SOCK_DGRAM, 0),
    "tcp": (socket.SOCK_STREAM, 0),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class Lost(NamedTuple):
    """A path on which messages did not come back."""

    path: Path
    what: str


def has_sctp() -> bool:
    """Whether the kernel has SCTP (CONFIG_IP_SCTP)."""
    with suppress(OSError), socket.socket(socket.AF_INET, *_KINDS["sctp"]):
        return True
    return False


def check_messages(plan: Plan, namespaces: Namespaces) -> tuple[int, tuple[Lost, ...]]:
    """How many paths were tried, and on which messages did not come back as they were sent."""
    tried, lost = 0, list[Lost]()
    protocols = [protocol for protocol in _KINDS if protocol != "sctp" or has_sctp()]
    size = max(SIZE, plan.pod_mtu + _MORE)
    for some in paths_in_batches(plan):
        wrong: dict[Path, list[str]] = {}
        for protocol in protocols:
            for path, what in _lost(some, namespaces, protocol, size):
                wrong.setdefault(path, []).append(f"{protocol} ({what})")
        lost += (
            Lost(path, f"{size}-byte messages do not come back over {', '.join(own)}") for path, own in wrong.items()
        )
        tried += len(some)
        forget_learned_in(namespaces[space.name] for path in some for space in (path.source, path.target))
    return tried, tuple(lost)


@dataclass(eq=False)
class _Talk:
    """One message on its way."""

    path: Path
    sock: socket.socket
    body: bytes
    is_sent: bool = False
    back: bytes = b""
    what: str = NO_ANSWER
    """What is wrong; empty if the message came back."""
    is_over: bool = False

    def send(self) -> None:
        try:
            self.sock.send(self.body)
            self.is_sent = True
        except OSError as error:
            self._end(error.strerror or str(error))

    def read(self) -> None:
        try:
            data = self.sock.recv(_RECEIVE)
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        self.back += data
        if len(self.back) >= len(self.body) or not data:
            self._end("" if self.back == self.body else f"{len(self.back)} bytes came back, not the same ones")

    def _end(self, what: str) -> None:
        self.what, self.is_over = what, True


def _lost(some: Sequence[Path], namespaces: Namespaces, protocol: str, size: int) -> Iterator[tuple[Path, str]]:
    """Send a message on each of these paths, and wait until all are back or none was for a while."""
    with _Echo(namespaces, protocol) as echo:
        for path in {(path.target.name, path.address): path for path in some}.values():
            echo.serve(path)
        talks = [_Talk(path, echo.call(path), secrets.token_bytes(size)) for path in some]
        last = again = time.monotonic()
        while (open_ := [talk for talk in talks if not talk.is_over]) and time.monotonic() - last < _SILENCE_S:
            if protocol == "udp" and time.monotonic() >= again:
                again = time.monotonic() + _AGAIN_S
                for talk in open_:
                    talk.is_sent = False
            talking = {talk.sock: talk for talk in open_}
            unsent = [talk.sock for talk in open_ if not talk.is_sent]
            readable, writable, _ = select.select([*talking, *echo.sockets], unsent, [], _AGAIN_S)
            for sock in writable:
                talking[sock].send()
            for sock in readable:
                if sock in talking:
                    talking[sock].read()
                else:
                    echo.answer(sock)
            if any(talk.is_over for talk in open_):
                last = time.monotonic()
    yield from ((talk.path, talk.what) for talk in talks if talk.what)


class _Echo:
    """Sockets that send back what they receive, and those that call them."""

    def __init__(self, namespaces: Namespaces, protocol: str) -> None:
        self._namespaces, self._protocol = namespaces, protocol
        self._listeners: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sockets(self) -> list[socket.socket]:
        """The sockets that answer."""
        return [*self._listeners, *self._connections]

    def _opened(self, place: str, address: Address) -> socket.socket:
        kind, number = _KINDS[self._protocol]
        with self._namespaces[place].entered():
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            sock = self._stack.enter_context(socket.socket(family, kind, number))
        sock.setblocking(False)
        return sock

    def serve(self, path: Path) -> None:
        """Answer at the target of a path."""
        sock = self._opened(path.target.name, path.address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(path.address), REACH_PORT))
        if self._protocol != "udp":
            sock.listen()
        self._listeners.append(sock)

    def call(self, path: Path) -> socket.socket:
        """A socket of the source that is connected to the target, or will be."""
        sock = self._opened(path.source.name, path.address)
        with suppress(OSError):  # Sending reports the error.
            sock.connect((str(path.address), REACH_PORT))
        return sock

    def answer(self, sock: socket.socket) -> None:
        """Send back what a socket has received."""
        with suppress(OSError):  # If the way back is broken, the caller gets no answer.
            if sock in self._connections:
                data = sock.recv(_RECEIVE)
                if data:
                    sock.send(data)
                else:
                    self._connections.remove(sock)
            elif self._protocol == "udp":
                data, peer = sock.recvfrom(_RECEIVE)
                sock.sendto(data, peer)
            else:
                connection, _ = sock.accept()
                connection.setblocking(False)
                self._connections.append(self._stack.enter_context(connection))
