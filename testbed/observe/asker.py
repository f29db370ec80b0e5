"""Ask and answer questions between the pods and nodes of a lab, with sockets of one process.

Every pod and node answers on one port with its name and the source address that it saw; the kernel answers ICMP. All
sockets belong to this process: a socket stays in the namespace in which it was opened.
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
"""Time limit for an answer."""
NO_ANSWER = f"no answer within {PATIENCE_S:.0f} s"
_RESEND_S = 0.5
_LOOK_S = 0.1
_NUMBER = struct.Struct("!QQ")
"""Start of a datagram: a random number of this check, and the question's number."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Answer(NamedTuple):
    """The name of the answerer and the source address that it saw, or an error."""

    name: str = ""
    seen: str = ""
    error: str = ""


class _Pending(NamedTuple):
    """A question without an answer so far."""

    question: Question
    place: int
    """Position in the batch."""
    sock: socket.socket
    """The socket that asked; TCP has one for each question."""


class Asker:
    """Ask many questions at once, each from a socket in the source's namespace, and answer them."""

    def __init__(self, plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], port: int) -> None:
        self._plan, self._namespaces, self._protocols, self._port = plan, namespaces, protocols, port
        self._mark = secrets.randbits(64)
        self._number = 0
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._open: list[socket.socket] = []
        self._askers: dict[tuple[str, int, Protocol], socket.socket] = {}
        """Datagram sockets, one for each place, family and protocol."""
        self._pending: dict[int, _Pending] = {}
        self._answers: list[Answer] = []

    def __enter__(self) -> "Asker":
        for space in self._plan.of_kind(Kind.POD, Kind.NODE):
            with self._namespaces[space.name].entered():
                for address in space.reached_at:
                    # If the address is missing, nothing answers there and its pairs fail.
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
        """A socket in the calling thread's namespace, open until the asker is closed."""
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol)
        sock.setblocking(False)
        self._open.append(sock)
        return sock

    def _listen(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        self._handlers[sock.fileno()] = handler
        self._poll.register(sock, select.EPOLLIN)

    def _answer_tcp(self, name: str, address: Address) -> None:
        listener = self._opened(address.version, socket.SOCK_STREAM)
        # Connections of an earlier check may still be in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), self._port))
        listener.listen(AT_ONCE)

        def answer() -> None:
            with suppress(OSError):
                connection, peer = listener.accept()
                with connection:
                    # MSG_MORE: one packet with the FIN.
                    connection.send(f"{name} {peer[0]}".encode(), socket.MSG_MORE)

        self._listen(listener, answer)

    def _answer_udp(self, name: str, address: Address) -> None:
        # Bound to the address, so that the answer has it as its source.
        sock = self._opened(address.version, socket.SOCK_DGRAM)
        sock.bind((str(address), self._port))

        def answer() -> None:
            # If the way back is broken, the asker gets no answer.
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
        """Read from all ready sockets; return how many there were."""
        events = self._poll.poll(timeout)
        for descriptor, _ in events:
            # An earlier handler may have closed this socket.
            if handler := self._handlers.get(descriptor):
                handler()
        return len(events)

    def _start(self, place: int, question: Question) -> None:
        """Ask a question, in the source's namespace."""
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
        """Repeat unanswered datagrams: the first may be lost while its neighbour is resolved."""
        for number, pending in list(self._pending.items()):
            if pending.question.protocol != "tcp":
                # The socket reports the error of the last try here.
                with suppress(OSError):
                    self._send(number, pending.question, pending.sock)

    def _udp_asker(self, version: int) -> socket.socket:
        """Not bound: the kernel chooses the source address, as for any program."""
        sock = self._opened(version, socket.SOCK_DGRAM)

        def read() -> None:
            with suppress(OSError):
                while True:
                    self._take(sock.recv(256))

        self._listen(sock, read)
        return sock

    def _take(self, data: bytes) -> None:
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
            pass  # The kernel connects in the background.
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
            self._finish(number, Answer(error="connection closed without an answer"))
        else:
            self._finish(number, Answer(name, seen))

    def _finish(self, number: int, answer: Answer) -> None:
        """Record the first answer to a question; a repeated question may get a second."""
        if pending := self._pending.pop(number, None):
            self._answers[pending.place] = answer
            if pending.question.protocol == "tcp":
                self._close(pending.sock)

    def _close(self, sock: socket.socket) -> None:
        self._handlers.pop(sock.fileno(), None)
        # Reset, so that no TIME_WAIT stays: a check has more connections than there is room for.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
