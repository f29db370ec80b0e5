"""Who reaches whom: the Kubernetes network model asked of every pair, over TCP, UDP and ICMP.

Every pod and node answers on one port with its name and the address that it saw the question come from. So an answer
tells three things: that the packets came through both ways, that the right one answered, and that nobody changed the
source address on the way (no NAT between pods). ICMP's is the kernel's own, and tells the first alone. All sockets
belong to this process; opening one inside a namespace is enough to have it there.

Questions are asked tile by tile: some sources, some targets, and each of the ones asks each of the others. The reason
are the neighbour tables. All namespaces of a machine share one limit of 1,024 learned entries for each family
(`gc_thresh3`), which only the host could raise. So no more is asked than can be learned, and what was learned is
forgotten before the next tile.
"""

import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import NamedTuple

from testbed.kernel.carry_out import Namespaces
from testbed.kernel.neighbours import forget_learned_in
from testbed.observe.echo import echo_request, echo_socket, reply_in
from testbed.observe.share import shared
from testbed.observe.shots import Protocol
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.types import Address

PORT = 7471
"""Of the first process that asks; the others have the ones after it."""
PATIENCE_S = 3.0
"""How long a pair may take to answer."""
NO_ANSWER = f"no answer within {PATIENCE_S:.0f} s"
_RESEND_S = 0.5
_LOOK_S = 0.1
_TILE = 64
"""Sources, and targets, of a tile."""
_MOST_NEIGHBOURS = 700
"""To be learned at a time; some room is left for those that a user's own traffic needs."""
_AT_ONCE = 2000
"""Questions under way at a time."""
_WORTH_SHARING = 5000
"""So many questions are worth a second process."""
_MOST_PROCESSES = 2
"""However many CPUs there are: each has a port of its own, and a share of the room for neighbours."""

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp")

_NUMBER = struct.Struct("!QQ")
"""What a datagram begins with: a number that only this check uses, and the question's."""
_LINGER_NOT = struct.pack("ii", 1, 0)


class Question(NamedTuple):
    """One pod or node asking another one, over one protocol and family."""

    source: Space
    target: Space
    address: Address
    protocol: Protocol
    to: str
    """The address as text: to make that takes longer than to ask."""
    own: frozenset[str]
    """The source's addresses, as text."""

    def __str__(self) -> str:
        source, target = self.source, self.target
        return f"{source.kind} {source.name} -> {target.kind} {target.name} {self.protocol} {self.to}"


@dataclass(frozen=True)
class Reach:
    """How many pairs were asked, and which failed, each with what happened."""

    asked: int
    failed: tuple[tuple[Question, str], ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """A line for each."""
        return tuple(f"{question}: {why}" for question, why in self.failed)

    @property
    def passed(self) -> int:
        return self.asked - len(self.failed)


def questions(plan: Plan, protocols: Sequence[Protocol] = PROTOCOLS) -> Iterator[Question]:
    """Every pod to every pod, every node to every pod, every pod to every node, nodes to each other."""
    for tile in _tiles(plan):
        yield from _asked_in(tile, protocols)


def check_reach(plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol] = PROTOCOLS) -> Reach:
    """Asks every question of the plan and waits for the answers; many questions are shared by two processes."""
    places = len(plan.of_kind(Kind.POD, Kind.NODE))
    many = places * places * len(protocols) >= _WORTH_SHARING
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES) if many else 1
    parts = shared(partial(_share, plan, namespaces, protocols), processes)
    failed = [
        (Question(plan[source], plan[target], address, protocol, str(address), frozenset()), why)
        for _, failures in parts
        for source, target, address, protocol, why in failures
    ]
    if len(parts) > 1:
        failed = _asked_again(plan, namespaces, protocols, failed)
    order = {space.name: number for number, space in enumerate(plan.spaces)}

    def place(question: Question) -> tuple[int, int, int, int]:
        ends = order[question.source.name], order[question.target.name]
        return *ends, question.address.version, PROTOCOLS.index(question.protocol)

    failed.sort(key=lambda item: place(item[0]))
    return Reach(sum(asked for asked, _ in parts), tuple(failed))


def _asked_again(
    plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], failed: list[tuple[Question, str]]
) -> list[tuple[Question, str]]:
    """Those that fail by this process alone as well.

    While there were several, one may have made a node forget a neighbour that it was just asking for on behalf of
    another one, which then heard that there is no route. Who got no answer at all has been asked several times.
    """
    refused = [(question, why) for question, why in failed if why != NO_ANSWER]
    again = list[tuple[Question, str]]()
    if refused:
        with _Asker(plan, namespaces, protocols, PORT) as asker:
            for batch, places in _batches(plan, (question for question, _ in refused), _MOST_NEIGHBOURS):
                asked = [question._replace(own=_own(question.source)) for question in batch]
                answers = asker.ask(asked)
                forget_learned_in(namespaces[place] for place in places)
                again += ((q, why) for q, answer in zip(asked, answers, strict=True) if (why := wrong(q, answer)))
    return [(question, why) for question, why in failed if why == NO_ANSWER] + again


Failed = tuple[str, str, Address, Protocol, str]
"""Source and target by name, the address, the protocol, and what happened: less to pass on than a whole question."""


def _share(
    plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], number: int, total: int
) -> tuple[int, list[Failed]]:
    """Asks every so many'th tile of questions; how many that were, and which failed."""
    asked, failed = 0, list[Failed]()
    with ExitStack() as stack:
        asker = stack.enter_context(_Asker(plan, namespaces, protocols, PORT + number))
        for tile in list(_tiles(plan))[number::total]:
            for batch, places in _batches(plan, _asked_in(tile, protocols), _MOST_NEIGHBOURS // total):
                answers = asker.ask(batch)
                forget_learned_in(namespaces[place] for place in places)
                asked += len(batch)
                for question, answer in zip(batch, answers, strict=True):
                    if why := wrong(question, answer):
                        failed.append(
                            (question.source.name, question.target.name, question.address, question.protocol, why)
                        )
    return asked, failed


_Tile = tuple[Sequence[Space], Sequence[Space]]


def _tiles(plan: Plan) -> Iterator[_Tile]:
    places = plan.of_kind(Kind.POD, Kind.NODE)
    blocks = [places[start : start + _TILE] for start in range(0, len(places), _TILE)]
    yield from product(blocks, blocks)


def _asked_in(tile: _Tile, protocols: Sequence[Protocol]) -> Iterator[Question]:
    sources, targets = tile
    reached = [(target, address, str(address)) for target in targets for address in target.reached_at]
    for source in sources:
        families = {address.version for address in source.reached_at}
        own = _own(source)
        for target, address, text in reached:
            if source is not target and address.version in families:
                for protocol in protocols:
                    yield Question(source, target, address, protocol, text, own)


def _own(source: Space) -> frozenset[str]:
    return frozenset(map(str, source.reached_at))


def _batches(
    plan: Plan, asked: Iterable[Question], most_neighbours: int
) -> Iterator[tuple[list[Question], frozenset[str]]]:
    """Questions to be asked at a time, and the places that are to forget what they have learned when they are answered.

    Those are none as long as the neighbour tables have room for the questions that follow.
    """
    batch: list[Question] = []
    learned: set[_Entry] = set()
    is_on_link = _OnLink()
    for _, pair in groupby(asked, key=lambda q: (q.source.name, q.target.name, q.address.version)):
        together = list(pair)
        one = together[0]
        more = _to_learn(one.source, one.target, one.address.version, is_on_link)
        is_full = len(learned) + len(more - learned) > most_neighbours
        if batch and (is_full or len(batch) >= _AT_ONCE):
            yield batch, _learners(plan, learned) if is_full else frozenset()
            batch = []
            if is_full:
                learned.clear()
        batch += together
        learned |= more
    if batch:
        yield batch, _learners(plan, learned)


_Entry = tuple[str, str, int]
"""Of a neighbour table: in which place, of whom, in which family."""


def _learners(plan: Plan, learned: Iterable[_Entry]) -> frozenset[str]:
    return frozenset({place for place, _, _ in learned} | {space.name for space in plan.of_kind(Kind.ROUTER)})


def _to_learn(source: Space, target: Space, family: int, is_on_link: "_OnLink") -> set[_Entry]:
    """The entries that two ends and their nodes may need to reach each other.

    Two on one link need each other, any others their routers. It is an estimate, and rather too much.
    """
    here, there = source.home, target.home
    return {
        (source.name, target.name if is_on_link(source, target, family) else "router", family),
        (target.name, source.name if is_on_link(target, source, family) else "router", family),
        (here, source.name, family),
        (there, target.name, family),
        (here, there, family),
        (there, here, family),
    }


class _OnLink:
    """Whether the first takes the other for a neighbour: asked for each of a million pairs, so reckoned in numbers."""

    def __init__(self) -> None:
        self._links: dict[str, list[tuple[int, int, int]]] = {}
        """By place: family, mask and network of each link."""
        self._reached: dict[tuple[str, int], int] = {}
        """By place and family: the address."""

    def __call__(self, one: Space, other: Space, family: int) -> bool:
        if (links := self._links.get(one.name)) is None:
            networks = [item.interface.network for item in one.addresses]
            links = self._links[one.name] = [(n.version, int(n.netmask), int(n.network_address)) for n in networks]
        if (to := self._reached.get((other.name, family))) is None:
            own = [int(address) for address in other.reached_at if address.version == family]
            to = self._reached[other.name, family] = own[0]
        return any(version == family and to & mask == network for version, mask, network in links)


class Answer(NamedTuple):
    """Who answered and whom it saw asking, or what went wrong."""

    name: str = ""
    seen: str = ""
    error: str = ""


def wrong(question: Question, answer: Answer) -> str:
    """What is wrong with the answer, empty if it is as the Kubernetes model wants it."""
    if answer.error:
        return answer.error
    if answer.name != question.target.name:
        return f"{answer.name} answered in its place"
    if question.protocol == "icmp":
        return ""  # Which tells nobody whom it saw.
    # A node may use the address of its bridge or tunnel; a pod has only its own.
    if question.source.kind is Kind.POD and answer.seen not in question.own:
        return f"the target saw it come from {answer.seen}"
    return ""


class _Pending(NamedTuple):
    """A question under way."""

    question: Question
    place: int
    """In the batch."""
    sock: socket.socket
    """It was asked by this one, which over TCP is its own."""


class _Asker:
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

    def __enter__(self) -> "_Asker":
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
        listener.listen(_AT_ONCE)

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
