"""Who reaches whom: the Kubernetes network model asked of every pair, over TCP and UDP.

Every pod and node answers on one port with its name and the address that it saw the question come from. So an answer
tells three things: that the packets came through both ways, that the right one answered, and that nobody changed the
source address on the way (no NAT between pods). All sockets belong to this process; opening one inside a namespace is
enough to have it there.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from typing import Literal

from testbed.kernel.carry_out import Namespaces
from testbed.kernel.neighbours import forget_learned_in
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.types import Address

PORT = 7471
PATIENCE_S = 3.0
"""How long a pair may take to answer."""
_RESEND_S = 0.5
_LOOK_S = 0.1
_AT_ONCE = 400
"""Questions under way at a time. Each may need two new entries of the neighbour tables, of which there are 1,024."""

Protocol = Literal["tcp", "udp"]
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")


@dataclass(frozen=True)
class Question:
    """One pod or node asking another one, over one protocol and family."""

    source: Space
    target: Space
    address: Address
    protocol: Protocol

    def __str__(self) -> str:
        source, target = self.source, self.target
        return f"{source.kind} {source.name} -> {target.kind} {target.name} {self.protocol} {self.address}"


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


def questions(plan: Plan) -> Iterator[Question]:
    """Every pod to every pod, every node to every pod, every pod to every node, nodes to each other."""
    places = plan.of_kind(Kind.POD, Kind.NODE)
    for source, target, protocol in product(places, places, PROTOCOLS):
        if source is target:
            continue
        families = {address.version for address in source.reached_at}
        for address in target.reached_at:
            if address.version in families:
                yield Question(source, target, address, protocol)


def check_reach(plan: Plan, namespaces: Namespaces) -> Reach:
    """Asks every question of the plan and waits for the answers."""
    asked = list(questions(plan))
    with selectors.DefaultSelector() as selector, ExitStack() as sockets:
        for space in plan.of_kind(Kind.POD, Kind.NODE):
            with namespaces[space.name].entered():
                for address in space.reached_at:
                    for answerer in (_tcp_answerer, _udp_answerer):
                        # Where the address is missing nobody answers, and the pairs that fail tell it.
                        with suppress(OSError):
                            sockets.enter_context(answerer(selector, space.name, address))
        answers = _Asker(selector, namespaces).ask(asked)
    failures = ((question, wrong(question, answers[question])) for question in asked)
    return Reach(len(asked), tuple((question, why) for question, why in failures if why))


@dataclass(frozen=True)
class Answer:
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
    own = {str(address) for address in question.source.reached_at}
    # A node may use the address of its bridge or tunnel; a pod has only its own.
    if question.source.kind is Kind.POD and answer.seen not in own:
        return f"the target saw it come from {answer.seen}"
    return ""


def _text(name: str, seen: str) -> bytes:
    return f"{name} {seen}".encode()


def _open(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A socket in the calling thread's namespace."""
    opened = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, kind)
    opened.setblocking(False)
    return opened


def _tcp_answerer(selector: selectors.BaseSelector, name: str, address: Address) -> socket.socket:
    listener = _open(address, socket.SOCK_STREAM)
    # Connections of a check before this one are still remembered (TIME_WAIT).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((str(address), PORT))
    listener.listen(_AT_ONCE)

    def answer() -> None:
        connection, peer = listener.accept()
        with connection:
            connection.sendall(_text(name, peer[0]))

    selector.register(listener, selectors.EVENT_READ, answer)
    return listener


def _udp_answerer(selector: selectors.BaseSelector, name: str, address: Address) -> socket.socket:
    # Bound to the one address, so that the answer comes from where the question went to.
    sock = _open(address, socket.SOCK_DGRAM)
    sock.bind((str(address), PORT))

    def answer() -> None:
        _, peer = sock.recvfrom(64)
        # The way back may be broken; that shows on the asking side, as no answer.
        with suppress(OSError):
            sock.sendto(_text(name, peer[0]), peer)

    selector.register(sock, selectors.EVENT_READ, answer)
    return sock


def _why(error: OSError) -> str:
    return error.strerror or str(error)


@dataclass
class _Pending:
    """A question under way."""

    question: Question
    sock: socket.socket
    deadline: float
    sent: float


class _Asker:
    """Asks many questions at once, each from a socket in the source's namespace."""

    def __init__(self, selector: selectors.BaseSelector, namespaces: Namespaces) -> None:
        self._selector = selector
        self._namespaces = namespaces
        self._pending: dict[Question, _Pending] = {}
        self._answers: dict[Question, Answer] = {}
        self._next_look = 0.0

    def ask(self, asked: list[Question]) -> dict[Question, Answer]:
        for start in range(0, len(asked), _AT_ONCE):
            self._ask_at_once(asked[start : start + _AT_ONCE])
            if start + _AT_ONCE < len(asked):
                forget_learned_in(self._namespaces.values())  # Makes room for those of the next questions.
        return self._answers

    def _ask_at_once(self, asked: list[Question]) -> None:
        try:
            for question in asked:
                self._start(question)
            while self._pending:
                for key, _ in self._selector.select(timeout=_LOOK_S):
                    key.data()
                self._look_at_clock()
        finally:
            for pending in self._pending.values():
                pending.sock.close()

    def _start(self, question: Question) -> None:
        kind = socket.SOCK_STREAM if question.protocol == "tcp" else socket.SOCK_DGRAM
        with self._namespaces[question.source.name].entered():
            sock = _open(question.address, kind)
        now = time.monotonic()
        self._pending[question] = _Pending(question, sock, now + PATIENCE_S, now)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(question))
        try:
            sock.connect((str(question.address), PORT))
            if question.protocol == "udp":
                sock.send(b"?")
        except BlockingIOError:
            pass  # TCP: goes on by itself.
        except OSError as error:
            self._finish(question, Answer(error=_why(error)))

    def _read(self, question: Question) -> None:
        try:
            name, seen = self._pending[question].sock.recv(256).decode().split(" ")
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(question, Answer(error=_why(error)))
        except ValueError:
            self._finish(question, Answer(error="closed without an answer"))
        else:
            self._finish(question, Answer(name, seen))

    def _look_at_clock(self) -> None:
        """Gives up on what took too long, and sends UDP questions again that may have been lost."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        for pending in list(self._pending.values()):
            if now > pending.deadline:
                self._finish(pending.question, Answer(error=f"no answer within {PATIENCE_S:.0f} s"))
            elif pending.question.protocol == "udp" and now - pending.sent > _RESEND_S:
                pending.sent = now
                # An error of the last try is reported here instead of being sent into; reading tells it as well.
                with suppress(OSError):
                    pending.sock.send(b"?")

    def _finish(self, question: Question, answer: Answer) -> None:
        sock = self._pending.pop(question).sock
        self._selector.unregister(sock)
        sock.close()
        self._answers[question] = answer
