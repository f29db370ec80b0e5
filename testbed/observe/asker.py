"""Asks questions and answers them: sockets in all namespaces of a lab, served by one process.

Every pod and node answers on one port with its name and the address that it saw the question come from; ICMP the kernel
answers. All sockets belong to this process: opening one inside a namespace is enough to have it there.
"""

import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from testbed.kernel.refusal import Namespaces
from testbed.observe.echo import echo_request, echo_socket, reply_in
from testbed.observe.questions import AT_ONCE, Question
from testbed.observe.shots import Protocol
from testbed.plan.objects import Kind, Plan
from testbed.spec.types import Address

PATIENCE_S = 3.0
"""How long a pair may take to answer."""
NO_ANSWER = f"no answer within {PATIENCE_S:.0f} s"
_RESEND_S = 0.5
_LOOK_S = 0.1
_NUMBER = struct.Struct("!QQ")
"""What a datagram begins with: a number that only this check uses, and the question's."""
_LINGER_NOT = struct.pack("ii", 1, 0)


class Answer(NamedTuple):
    """Who answered and whom it saw asking, or what went wrong."""

    name: str = ""
    seen: str = ""
    error: str = ""


class _Pending(NamedTuple):
    """A question under way."""

    question: Question
    place: int
    """In the batch."""
    sock: socket.socket
    """It was asked by this one, which over TCP is its own."""


class Asker:
    """Asks many questions at once, each from a socket in the source's namespace, and answers them all."""

    def __init__(self, plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], port: int) -> None:
        self._plan, self._namespaces, self._protocols, self._port = plan, namespaces, protocols, port
        self._mark = secrets.randbits(64)
        self._number = 0
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._open: list[socket.socket] = []
        self._askers: dict[tuple[str, int, Protocol], socket.socket] = {}
        """Of datagrams: one for each place, family and protocol."""
        self._pending: dict[int, _Pending] = {}
        self._answers: list[Answer] = []

    def __enter__(self) -> "Asker":
        for space in self._plan.of_kind(Kind.POD, Kind.NODE):
            with self._namespaces[space.name].entered():
                for address in space.reached_at:
                    # Where the address is missing nobody answers, and the pairs that fail tell it.
                    with suppress(OSError):
                        if "tcp" in self._protocols:
                            self._answer_tcp(space.name, address)
                        if "udp" in self._protocols:
                            self._answer_udp(space.name, address)
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for sock in (*self._open, *(pending.sock for pending in self._pending.values())):
            sock.close()

    def _opened(self, version: int, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A socket in the calling thread's namespace that stays open with the asker."""
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol)
        sock.setblocking(False)
        self._open.append(sock)
        return sock

    def _listen(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        self._handlers[sock.fileno()] = handler
        self._poll.register(sock, select.EPOLLIN)

    def _answer_tcp(self, name: str, address: Address) -> None:
        listener = self._opened(address.version, socket.SOCK_STREAM)
        # Connections of a check before this one are still remembered (TIME_WAIT).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), self._port))
        listener.listen(AT_ONCE)

        def answer() -> None:
            with suppress(OSError):
                connection, peer = listener.accept()
                with connection:
                    # In one packet with the end of the connection.
                    connection.send(f"{name} {peer[0]}".encode(), socket.MSG_MORE)

        self._listen(listener, answer)

    def _answer_udp(self, name: str, address: Address) -> None:
        # Bound to the one address, so that the answer comes from where the question went to.
        sock = self._opened(address.version, socket.SOCK_DGRAM)
        sock.bind((str(address), self._port))

        def answer() -> None:
            # The way back may be broken; that shows on the asking side, as no answer.
            with suppress(OSError):
                data, peer = sock.recvfrom(64)
                sock.sendto(data[: _NUMBER.size] + f"{name} {peer[0]}".encode(), peer)

        self._listen(sock, answer)

    def ask(self, batch: Sequence[Question]) -> list[Answer]:
        """The answers, in the order of the questions."""
        begin = time.monotonic()
        self._answers = [Answer(error=NO_ANSWER)] * len(batch)
        for name, group in groupby(enumerate(batch), key=lambda item: item[1].source.name):
            with self._namespaces[name].entered():
                for place, question in group:
                    self._start(place, question)
            while self._serve(0):
                pass
        resent = begin
        while self._pending and (now := time.monotonic()) - begin < PATIENCE_S:
            if not self._serve(_LOOK_S) and now - resent > _RESEND_S:
                resent = now
                self._send_again()
        for pending in self._pending.values():
            if pending.question.protocol == "tcp":
                self._close(pending.sock)
        self._pending.clear()
        return self._answers

    def _serve(self, timeout: float) -> int:
        """Lets those who have something to read do so; how many those were."""
        events = self._poll.poll(timeout)
        for descriptor, _ in events:
            # One of them may have ended another one.
            if handler := self._handlers.get(descriptor):
                handler()
        return len(events)

    def _start(self, place: int, question: Question) -> None:
        """In the source's namespace."""
        self._number = number = self._number + 1
        if question.protocol == "tcp":
            self._connect(number, place, question)
            return
        key = question.source.name, question.address.version, question.protocol
        if (sock := self._askers.get(key)) is None:
            opener = self._udp_asker if question.protocol == "udp" else self._icmp_asker
            sock = self._askers[key] = opener(question.address.version)
        self._pending[number] = _Pending(question, place, sock)
        try:
            self._send(number, question, sock)
        except OSError as error:
            self._finish(number, Answer(error=_why(error)))

    def _send(self, number: int, question: Question, sock: socket.socket) -> None:
        body = _NUMBER.pack(self._mark, number)
        if question.protocol == "udp":
            sock.sendto(body, (question.to, self._port))
        else:
            sock.sendto(echo_request(question.address.version, body), (question.to, 0))

    def _send_again(self) -> None:
        """Datagrams may have been lost, such as the first to somebody whose neighbour was not known yet."""
        for number, pending in list(self._pending.items()):
            if pending.question.protocol != "tcp":
                # An error of the last try is told here instead of being sent into.
                with suppress(OSError):
                    self._send(number, pending.question, pending.sock)

    def _udp_asker(self, version: int) -> socket.socket:
        """Not bound: the kernel is to choose the source's address, as it does for any program."""
        sock = self._opened(version, socket.SOCK_DGRAM)

        def read() -> None:
            with suppress(OSError):
                while True:
                    self._hear(sock.recv(256))

        self._listen(sock, read)
        return sock

    def _hear(self, data: bytes) -> None:
        mark, number = _NUMBER.unpack_from(data)
        if mark == self._mark:
            name, _, seen = data[_NUMBER.size :].decode().partition(" ")
            self._finish(number, Answer(name, seen))

    def _icmp_asker(self, version: int) -> socket.socket:
        sock = echo_socket(version)
        self._open.append(sock)

        def read() -> None:
            with suppress(OSError):
                while True:
                    data = reply_in(version, sock.recv(256))
                    if len(data) == _NUMBER.size:
                        mark, number = _NUMBER.unpack(data)
                        if mark == self._mark and number in self._pending:
                            self._finish(number, Answer(self._pending[number].question.target.name))

        self._listen(sock, read)
        return sock

    def _connect(self, number: int, place: int, question: Question) -> None:
        version = question.address.version
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        sock.setblocking(False)
        self._pending[number] = _Pending(question, place, sock)
        try:
            sock.connect((question.to, self._port))
        except BlockingIOError:
            pass  # It goes on by itself.
        except OSError as error:
            self._finish(number, Answer(error=_why(error)))
            return
        self._listen(sock, lambda: self._read_tcp(number, sock))

    def _read_tcp(self, number: int, sock: socket.socket) -> None:
        try:
            name, seen = sock.recv(256).decode().split(" ")
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(number, Answer(error=_why(error)))
        except ValueError:
            self._finish(number, Answer(error="closed without an answer"))
        else:
            self._finish(number, Answer(name, seen))

    def _finish(self, number: int, answer: Answer) -> None:
        """The first answer to a question counts; one that was asked again may have a second."""
        if pending := self._pending.pop(number, None):
            self._answers[pending.place] = answer
            if pending.question.protocol == "tcp":
                self._close(pending.sock)

    def _close(self, sock: socket.socket) -> None:
        self._handlers.pop(sock.fileno(), None)
        # Nothing of it is to be remembered: a check has more connections than there is room for.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        sock.close()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
