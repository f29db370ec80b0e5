"""Whether the ports of containers are reached, as the cluster's state says, by a real connection or datagram.

Every place must reach every port, except those that policies keep away.

Connections are closed as soon as they are open. A datagram asks for the host name, as agnhost's netexec answers it.
"""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import groupby
from typing import Any, NamedTuple, Self

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.messages import has_sctp
from testbed.observe.questions import MOST_NEIGHBOURS, batches
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.types import Address

MOST_ASKED = 20_000
"""Questions of a check; of more, each port is asked from some places in turn."""
OPEN = "open"
PATIENCE_S = 2.1
_AGAIN_S = (0.3, 0.9)
"""When a datagram without an answer is repeated."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PROTOCOLS = {
    "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "SCTP": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class Port(NamedTuple):
    """A port that must answer."""

    of: str
    """Namespace and name of the pod, such as `shop/web-1`, or of a Service and its port."""
    place: str
    """The pod, or for hostNetwork its node, by its name in the lab; of a Service one that answers."""
    container: str
    """Empty for a Service."""
    number: int
    protocol: str
    """TCP, UDP or SCTP."""
    closed: tuple[tuple[int, frozenset[str]], ...] = ()
    """By family: the places that must not reach it."""
    address: str = ""
    """The address to ask; empty for those of the place."""
    unasked: tuple[str, ...] = ()
    """Places that do not ask."""

    def is_open(self, source: str, family: int) -> bool:
        """Whether a place must reach it."""
        return not any(source in places for own, places in self.closed if own == family)

    def __str__(self) -> str:
        inside = self.address or self.container
        return f"{self.number}/{self.protocol} of {self.of} ({inside})"


class Question(NamedTuple):
    """One place asks a port at one address."""

    source: Space
    target: Space
    address: Address
    port: Port


class Expected(NamedTuple):
    """What must be reachable in a lab with Kubernetes objects."""

    ports: tuple[Port, ...] = ()
    covered: frozenset[str] = frozenset()
    """The places of pods under policies: of these, only ports are asked."""
    asked: tuple[str, ...] = ()
    """What else is part of the ports: `Services`, `NetworkPolicies`."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From plain data, as the lab sends it."""
        ports = []
        for one in data.get("ports", ()):
            closed = tuple((int(family), frozenset(places)) for family, places in one["closed"].items())
            ports.append(Port(**{**one, "closed": closed, "unasked": tuple(one["unasked"])}))
        return cls(tuple(ports), frozenset(data.get("covered", ())), tuple(data.get("asked", ())))


class Result(NamedTuple):
    """What a check of ports found."""

    asked: int
    failed: tuple[tuple[Question, str], ...]
    """Each with what was expected, and found instead."""
    partly: str = ""
    """If not every place asked every port: how many did."""


def check_ports(plan: Plan, namespaces: Namespaces, ports: Sequence[Port]) -> Result:
    """Ask every port from every pod and node, except from its own pod."""
    places = [space for space in plan.of_kind(Kind.POD, Kind.NODE) if space.reached_at]
    known = {space.name: space for space in places}
    sctp = has_sctp()
    ports = [port for port in ports if port.place in known and (port.protocol != "SCTP" or sctp)]
    if not ports:
        return Result(0, ())
    each = max(1, min(len(places), MOST_ASKED // len(ports)))
    asked = 0
    failed: list[tuple[Question, str]] = []
    for batch, learners in batches(plan, _questions(places, known, ports, each), MOST_NEIGHBOURS):
        asked += len(batch)
        for question, found in _asked(batch, namespaces):
            is_open = question.port.is_open(question.source.name, question.address.version)
            if is_open != (found == OPEN):
                expected = OPEN if is_open else "closed"
                failed.append((question, f"expected {expected}, found {found}"))
        if learners:
            forget_learned_in(namespaces[place] for place in learners)
    partly = "" if each >= len(places) else f"ports from {each} of {len(places)} places each"
    return Result(asked, tuple(failed), partly)


def _questions(
    places: Sequence[Space], known: dict[str, Space], ports: Sequence[Port], each: int
) -> Iterator[Question]:
    """The questions, those of one pair together."""
    first = 0
    for place, own in groupby(ports, key=lambda port: port.place):
        target, asked = known[place], list(own)
        chosen = [places[(first + number) % len(places)] for number in range(each)]
        first += each
        for source in chosen:
            if source is target:
                continue
            families = {address.version for address in source.reached_at}
            for port in asked:
                if source.name in port.unasked:
                    continue
                for address in [ip_address(port.address)] if port.address else target.reached_at:
                    if address.version in families:
                        yield Question(source, target, address, port)


def _asked(batch: Sequence[Question], namespaces: Namespaces) -> Iterator[tuple[Question, str]]:
    """Ask the questions of a batch at the same time; each with what was found."""
    poll = select.poll()
    waiting: dict[int, tuple[Question, socket.socket]] = {}
    try:
        for source, own in groupby(batch, key=lambda question: question.source.name):
            with namespaces[source].entered():
                for question in own:
                    try:
                        sock = _begun(question)
                    except OSError as error:
                        yield question, _word(error.errno or 0)
                        continue
                    waiting[sock.fileno()] = question, sock
                    poll.register(sock, select.POLLIN if question.port.protocol == "UDP" else select.POLLOUT)
        yield from _heard(poll, waiting)
        yield from ((question, "no answer") for question, _ in waiting.values())
    finally:
        for _, sock in waiting.values():
            sock.close()


def _begun(question: Question) -> socket.socket:
    """A socket, in the namespace of this thread, that has asked. Raises OSError."""
    family = socket.AF_INET if question.address.version == 4 else socket.AF_INET6
    kind, protocol = _PROTOCOLS[question.port.protocol]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        if question.port.protocol != "UDP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        error = sock.connect_ex((str(question.address), question.port.number))
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, "")
        if question.port.protocol == "UDP":
            sock.send(b"hostname")
    except OSError:
        sock.close()
        raise
    return sock


def _heard(poll: select.poll, waiting: dict[int, tuple[Question, socket.socket]]) -> Iterator[tuple[Question, str]]:
    """Take answers until all are there or time is over; what is answered leaves `waiting`, and is returned."""
    begin = time.monotonic()
    again = list(_AGAIN_S)
    while waiting and (left := begin + PATIENCE_S - time.monotonic()) > 0:
        until = min(left, begin + again[0] - time.monotonic()) if again else left
        for number, _ in poll.poll(max(0.0, until) * 1000):
            question, sock = waiting.pop(number)
            poll.unregister(number)
            if question.port.protocol == "UDP":
                try:
                    sock.recv(2048)
                    error = 0
                except OSError as problem:
                    error = problem.errno or errno.EIO
            else:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            sock.close()
            yield question, _word(error)
        if again and time.monotonic() >= begin + again[0]:
            del again[0]
            for question, sock in waiting.values():
                if question.port.protocol == "UDP":
                    with suppress(OSError):
                        sock.send(b"hostname")


def _word(error: int) -> str:
    return OPEN if not error else _WORDS.get(error) or errno.errorcode.get(error, str(error))


_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "unreachable",
    errno.ETIMEDOUT: "no answer",
    errno.EACCES: "prohibited",
    errno.EPERM: "not permitted",
}
