"""Ask and answer questions between the pods and nodes of a lab, with sockets of one process.

Every pod and node answers on one port with its name and the source address that it saw; the kernel answers ICMP. All
sockets belong to this process: a socket stays in the namespace in which it was opened.

A busy machine loses packets of a sound lab in two places. Each ARP request is flooded to all ports of its bridge, and
the kernel drops packets beyond a CPU's backlog of 1,000 (`net.core.netdev_max_backlog`). And all namespaces of a
machine share one neighbour table, which other labs may fill. Therefore

- few pairs resolve their neighbours at a time: the next pair is asked when an earlier one is answered;
- the time limit of an answer follows the measured round trips, as TCP's does;
- questions without an answer are set aside, and repeated at the end, as long as any of them is answered.
"""

import random
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.echo import echo_request, echo_socket, reply_in
from testbed.observe.questions import AT_ONCE, Question, batches, fan_out, pair_of
from testbed.observe.round_trip import RoundTrip
from testbed.observe.shots import Protocol
from testbed.plan.objects import Kind, Plan, Wireguard
from testbed.spec.types import Address

SILENCE_S = 2.1
"""Time without any answer after which the open questions have failed: three ARP requests are a second apart."""
HANDSHAKE_S = 16.5
"""The same where WireGuard runs. Both ends of a pair are asked at once, so both may begin a handshake, and both fail;
each repeats it after 5 s (REKEY_TIMEOUT) and up to a third of one, and on a busy machine they may meet again."""
NO_ANSWER = "no answer"
_AGAIN_S = 0.3
"""Time for the answers to repeated questions; doubled with each repetition."""
_WINDOW = 200
"""Questions under way whose neighbours are resolved."""
_COPIES = 900
"""Copies of broadcast frames under way: less than a CPU's backlog."""
_IN_VAIN_S, _EARNED_S, _EARNED_AGAIN_S = 0.2, 20e-6, 0.05
"""Time to wait for missing answers in total, and what an answer adds to it; an answer to a repeated question adds more,
as it shows that the machine loses packets."""
_TICK_S = 0.001
_NUMBER = struct.Struct("!QQ")
"""Start of a datagram: a random number of this check, and the question's number."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Answer(NamedTuple):
    """The name of the answerer and the source address that it saw, or an error."""

    name: str = ""
    seen: str = ""
    error: str = ""


@dataclass
class Open:
    """A question without an answer so far."""

    question: Question
    error: str = ""
    """The first error that it got instead; a second one is final."""
    asked: float = 0
    """When it was first asked; 0 before."""
    is_repeated: bool = False
    sock: socket.socket | None = None
    """The socket that asked; TCP has one for each question."""


Numbered = tuple[int, Open]
"""With the question's number in this check."""


class Asker:
    """Ask many questions, each from a socket in the source's namespace, and answer them."""

    def __init__(
        self,
        plan: Plan,
        namespaces: Namespaces,
        protocols: Sequence[Protocol],
        port: int,
        judge: Callable[[Question, Answer], str],
        round_trip: RoundTrip,
    ) -> None:
        """`judge` returns what is wrong with an answer, or an empty text."""
        self._plan, self._namespaces, self._protocols, self._port = plan, namespaces, protocols, port
        self._judge, self._round_trip = judge, round_trip
        self.failed: list[tuple[Question, str]] = []
        """The questions that failed for good, each with the reason."""
        self._resolving = max(1, _COPIES // fan_out(plan))
        devices = (device for space in plan.spaces for device in plan.devices_of(space.name).values())
        self._silence = HANDSHAKE_S if any(isinstance(device, Wireguard) for device in devices) else SILENCE_S
        self._mark = secrets.randbits(64)
        self._numbers = 0
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._sockets: list[socket.socket] = []
        self._askers: dict[tuple[str, int, Protocol], socket.socket] = {}
        """Datagram sockets, one for each place, family and protocol."""
        self._open: dict[int, Open] = {}
        self._awaited: set[int] = set()
        """The open questions of the present batch; others are set aside."""
        self._under_way: set[int] = set()
        """Those of them that were just asked."""
        self._in_vain = _IN_VAIN_S
        """Time left to wait for missing answers."""
        self._answered = 0.0
        """When the last answer came."""

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
        for sock in (*self._sockets, *(item.sock for item in self._open.values())):
            if sock is not None:
                sock.close()

    @property
    def open(self) -> tuple[tuple[Question, str], ...]:
        """The questions without an answer so far, and the error that each got, if any."""
        return tuple((item.question, item.error) for item in self._open.values())

    def ask(self, batch: Iterable[Question]) -> None:
        """Ask questions; wait for missing answers only as long as others come."""
        self._ask(self._numbered((question, "") for question in batch))
        self._pause(self._awaited, 1)
        self._set_aside()

    def settle(self, questions: Iterable[tuple[Question, str]], most_neighbours: int) -> None:
        """Repeat open questions until all are answered, or none was for a while: then they failed.

        At most `most_neighbours` entries are learned at a time. No other process may ask in the lab meanwhile.
        """
        self._open |= self._numbered(questions)
        self._answered, wait = time.monotonic(), _AGAIN_S
        while self._open and not self._is_silent:
            self._in_vain = max(self._in_vain, _IN_VAIN_S)
            self._repeat(most_neighbours, max(wait, 2 * self._round_trip.limit))
            wait *= 2
        self.failed += ((item.question, item.error or NO_ANSWER) for item in self._open.values())
        self._open.clear()

    def _numbered(self, questions: Iterable[tuple[Question, str]]) -> dict[int, Open]:
        items = [Open(question, error) for question, error in questions]
        first = self._numbers + 1
        self._numbers += len(items)
        return dict(enumerate(items, first))

    @property
    def _is_silent(self) -> bool:
        return time.monotonic() - self._answered >= max(self._silence, 3 * self._round_trip.limit)

    def _repeat(self, most_neighbours: int, wait: float) -> None:
        """Ask the open questions once more, and wait for answers."""
        rounds = list(self._shuffled(most_neighbours))
        for batch, learners in rounds:
            self._ask({number: item for number, item in batch if number in self._open})
            is_last = len(rounds) == 1
            deadline = time.monotonic() + (wait if is_last else self._round_trip.limit)
            while self._awaited and (left := deadline - time.monotonic()) > 0:
                self._serve(left)
            self._set_aside()
            if not is_last:
                # An entry that is not resolved would keep its place in the neighbour table for three seconds.
                forget_learned_in((self._namespaces[place] for place in learners), unresolved=True)
            if self._is_silent:
                return

    def _shuffled(self, most_neighbours: int) -> Iterator[tuple[list[Numbered], frozenset[str]]]:
        """The open questions in batches, in random order: if some can be answered, most batches have one of them."""
        numbers = {id(item.question): number for number, item in self._open.items()}
        pairs = [list(pair) for _, pair in groupby((item.question for item in self._open.values()), key=pair_of)]
        shuffled = (question for pair in random.sample(pairs, len(pairs)) for question in pair)
        for batch, learners in batches(self._plan, shuffled, most_neighbours):
            yield [(number := numbers[id(question)], self._open[number]) for question in batch], learners

    def _ask(self, items: dict[int, Open]) -> None:
        """Ask each of these questions once."""
        pairs = [list(pair) for _, pair in groupby(items.items(), key=lambda item: pair_of(item[1].question))]
        # The last question of a pair (ICMP) resolves the neighbours for the others.
        self._send([pair[-1] for pair in pairs], self._resolving)
        self._send([item for pair in pairs for item in pair[:-1]], _WINDOW)

    def _send(self, items: Iterable[Numbered], window: int) -> None:
        """Ask these questions, with at most `window` under way."""
        for name, group in groupby(items, key=lambda item: item[1].question.source.name):
            with self._namespaces[name].entered():
                for number, item in group:
                    self._start(number, item)
                    self._pause(self._under_way, window)
                    if len(self._under_way) >= window:
                        self._under_way.clear()
        self._pause(self._under_way, 1)
        self._under_way.clear()

    def _pause(self, numbers: Collection[int], window: int) -> None:
        """Serve until fewer than `window` of these questions are open, or the time for missing answers is spent."""
        last = time.monotonic()
        while len(numbers) >= window:
            # epoll waits at least a tick.
            limit = min(self._round_trip.limit, self._in_vain) if self._in_vain > _TICK_S else 0
            if self._serve(max(last + limit - time.monotonic(), 0)):
                last = time.monotonic()
            elif (waited := time.monotonic() - last) >= limit:
                self._in_vain = max(self._in_vain - waited, 0)
                return

    def _set_aside(self) -> None:
        """Await the rest of the batch no longer; late answers to datagrams still count."""
        for item in map(self._open.__getitem__, self._awaited):
            if item.question.protocol == "tcp":
                self._close(item)
        self._awaited.clear()

    def _serve(self, timeout: float) -> int:
        """Read from all ready sockets; return how many there were."""
        events = self._poll.poll(timeout)
        for descriptor, _ in events:
            # An earlier handler may have closed this socket.
            if handler := self._handlers.get(descriptor):
                handler()
        return len(events)

    def _start(self, number: int, item: Open) -> None:
        """Ask a question, in the source's namespace."""
        item.sock = self._asking(item.question)
        item.is_repeated, item.asked = bool(item.asked or item.error), item.asked or time.monotonic()
        self._open[number] = item
        self._awaited.add(number)
        self._under_way.add(number)
        try:
            self._ask_with(item.sock, number, item.question)
        except OSError as error:
            self._finish(number, Answer(error=_why(error)))

    def _asking(self, question: Question) -> socket.socket:
        """The socket to ask with."""
        version = question.address.version
        if question.protocol == "tcp":
            sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            sock.setblocking(False)
            return sock
        key = question.source.name, version, question.protocol
        if (known := self._askers.get(key)) is None:
            opener = self._udp_asker if question.protocol == "udp" else self._icmp_asker
            known = self._askers[key] = opener(version)
        return known

    def _ask_with(self, sock: socket.socket, number: int, question: Question) -> None:
        if question.protocol == "tcp":
            with suppress(BlockingIOError):  # The kernel connects in the background.
                sock.connect((question.to, self._port))
            self._listen(sock, lambda: self._read_tcp(number, sock))
            return
        body = _NUMBER.pack(self._mark, number)
        if question.protocol == "udp":
            sock.sendto(body, (question.to, self._port))
        else:
            sock.sendto(echo_request(question.address.version, body), (question.to, 0))

    def _opened(self, version: int, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A socket in the calling thread's namespace, open until the asker is closed."""
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol)
        sock.setblocking(False)
        self._sockets.append(sock)
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
        self._sockets.append(sock)

        def read() -> None:
            with suppress(OSError):
                while True:
                    data = reply_in(version, sock.recv(256))
                    if len(data) == _NUMBER.size:
                        mark, number = _NUMBER.unpack(data)
                        if mark == self._mark and number in self._open:
                            self._finish(number, Answer(self._open[number].question.target.name))

        self._listen(sock, read)
        return sock

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
        """Record the first answer to a question, or its second error."""
        if (item := self._open.get(number)) is None:
            return  # A repeated question may get several answers.
        self._awaited.discard(number)
        self._under_way.discard(number)
        if item.question.protocol == "tcp":
            self._close(item)
        if answer.error and not item.error:
            item.error = answer.error
            return
        del self._open[number]
        if why := self._judge(item.question, answer):
            self.failed.append((item.question, why))
        if not answer.error:
            self._answered = time.monotonic()
            # Of a repeated question, the first try counts: too long rather than too short.
            self._round_trip.measured(self._answered - item.asked)
            self._in_vain += _EARNED_AGAIN_S if item.is_repeated else _EARNED_S

    def _close(self, item: Open) -> None:
        """Close the connection of a question; it may be closed already."""
        if (sock := item.sock) is None:
            return
        item.sock = None
        self._handlers.pop(sock.fileno(), None)
        # Reset, so that no TIME_WAIT stays: a check has more connections than there is room for.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
