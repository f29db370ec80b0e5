"""What really happened to one packet and its answer, hop by hop.

A packet socket in each namespace of the lab records every frame on every device there, with the kernel's own time. A
packet with a mark of its own is sent; the frames that carry the mark are its walk. ICMP and UDP carry the mark in their
payload, and so do the errors that quote them; of TCP it is the sequence number of the SYN, which no NAT changes.
"""

import errno
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import dpkt

from testbed.kernel.carry_out import Namespaces
from testbed.kernel.namespace import Namespace
from testbed.kernel.state import state, unanswered
from testbed.observe.frames import Packet, decoded
from testbed.observe.inspect import differences
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.types import Address

Protocol = Literal["icmp", "udp", "tcp"]
Outcome = Literal["answered", "refused", "no answer", "lost"]
PORT = 7474
"""Where the answerer listens, unless told otherwise."""
PATIENCE_S = 1.5
"""How long an answer may take; ARP asks again after a second."""
_LINGER_S = 0.02
_STAMPS_S = 0.005
"""About how long the kernel takes until it stamps packets, once it is asked to; it does so when it comes to it."""
_TRIES = 4
"""How often a walk is taken anew because it had not yet."""
_ETH_P_ALL = 0x0003
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_BUFFER = 8 << 20
_TIMESPEC = struct.Struct("=qq")
_ECHO = {4: 8, 6: 128}
_WITH_ETHERNET = (1, 772)
"""Hardware types of Ethernet and of loopback (ARPHRD_)."""
_ANSWER = b"answer"
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
"""Never fragment, and heed no path MTU that was learned: the packet is to find out by itself."""
_IPPROTO = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}


@dataclass(frozen=True)
class Hop:
    """A sighting: one device, at one moment."""

    time_us: float
    """Since the first sighting."""
    place: str
    device: str
    direction: Literal["in", "out"]
    packet: Packet
    changes: tuple[str, ...]
    """What is different from the hop before."""


@dataclass(frozen=True)
class Walk:
    """What happened to a packet."""

    source: str
    target: str
    protocol: Protocol
    addresses: tuple[str, str]
    forth: tuple[Hop, ...]
    back: tuple[Hop, ...]
    """The answer, or the error that was sent instead of one."""
    outcome: Outcome
    """`refused` by an error; `no answer` if the target got it; `lost` if not."""
    reason: str
    """Of anything but an answer: what is known of why; may be empty."""


class CannotTrace(Exception):
    """There is nothing that could be sent; says why."""


def trace(
    plan: Plan,
    namespaces: Namespaces,
    source: str,
    target: str,
    protocol: Protocol = "icmp",
    port: int = PORT,
    size: int = 0,
    family: int | None = None,
) -> Walk:
    """Sends one packet from a pod or node to another, and says what came of it.

    `size` is that of the whole IP packet, if it is to be larger than it must be; it may not be fragmented. `family`
    is 4 or 6; without it IPv4 is taken where there is. Raises CannotTrace.
    """
    one, other = plan[source], plan[target]
    own, address = _addresses(one, other, family)
    watched = [space.name for space in plan.spaces if space.kind is not Kind.POD or space in (one, other)]
    for _ in range(_TRIES):
        before = {place: _counters(namespaces[place]) for place in watched}
        shot = _SHOTS[protocol](address, port, size, namespaces[source], namespaces[target])
        taken = _taken(shot, {place: namespaces[place] for place in watched})
        if taken.is_in_order:
            break
    start = taken.sightings[0].time if taken.sightings else 0
    forth, back = (
        _hops([sighting for sighting in taken.sightings if shot.is_back(sighting) is way], start)
        for way in (False, True)
    )
    outcome, reason = _outcome(source, target, forth, back)
    if outcome in ("lost", "no answer"):
        last = (back or forth)[-1].place if forth else source
        no_way_back = _no_way(namespaces[target], target, own) if outcome == "no answer" else ""
        known = (taken.unsent, no_way_back, *_why(plan, namespaces[last], plan[last], before[last]))
        reason = "; ".join(filter(None, known))
    return Walk(source, target, protocol, (str(own), str(address)), forth, back, outcome, reason)


@dataclass(frozen=True)
class _Sighting:
    time: int
    """In nanoseconds since 1970: a float would not tell two devices apart."""
    place: str
    device: str
    out: bool
    packet: Packet
    frame: bytes


@dataclass(frozen=True)
class _Taken:
    """What the taps made of a shot."""

    sightings: tuple[_Sighting, ...]
    unsent: str
    """Why it could not be sent, if so."""
    is_in_order: bool
    """Whether every sighting has the time at which the kernel saw it, and not that at which it was read."""


def _taken(shot: "_Shot", watched: Namespaces) -> _Taken:
    """Fires, with a tap in each of these namespaces."""
    with ExitStack() as stack:
        taps = {place: stack.enter_context(_tap(namespace)) for place, namespace in watched.items()}
        time.sleep(_STAMPS_S)
        stack.enter_context(shot)
        unsent = shot.fire()
        reading = time.time_ns()
        seen = [sighting for place, tap in taps.items() for sighting in _recorded(place, tap)]
    marked = tuple(sorted(shot.marked(seen), key=lambda sighting: sighting.time))
    return _Taken(marked, unsent, all(sighting.time < reading for sighting in marked))


def _addresses(one: Space, other: Space, family: int | None) -> tuple[Address, Address]:
    """The source's and the target's, in a family that both have."""
    if one is other:
        raise CannotTrace(f"{one.name} would send to itself, which crosses no device")
    for wanted in (family,) if family else (4, 6):
        pair = [[at for at in space.reached_at if at.version == wanted] for space in (one, other)]
        if all(pair):
            return pair[0][0], pair[1][0]
    missing = next((space.name for space in (one, other) if not space.reached_at), "")
    if missing:
        raise CannotTrace(f"{missing} has no address of its own to send from or to")
    raise CannotTrace(f"{one.name} and {other.name} have no address of the same family{f' {family}' if family else ''}")


def _outcome(source: str, target: str, forth: Sequence[Hop], back: Sequence[Hop]) -> tuple[Outcome, str]:
    errors = [hop.packet for hop in back if hop.packet.error]
    if errors:
        return "refused", f"{errors[0].source} answered: {errors[0].error}"
    if any((hop.place, hop.direction) == (source, "in") for hop in back):
        return "answered", ""
    arrived = any((hop.place, hop.direction) == (target, "in") for hop in forth)
    return "no answer" if arrived and not back else "lost", ""


def _tap(namespace: Namespace) -> socket.socket:
    """Records every frame of a namespace from now on, each with the time at which the kernel saw it."""
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    tap.setblocking(False)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with suppress(PermissionError):  # Root of a user namespace has to do with what everybody has.
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    return tap


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970; 0 without a time stamp."""
    for level, number, data in ancillary:
        if (level, number) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


def _recorded(place: str, tap: socket.socket) -> Iterator[_Sighting]:
    """What a tap has recorded. Within one namespace the order is that of the tap, whatever the times say."""
    latest = 0
    while True:
        try:
            frame, ancillary, _, (device, kind, packet_type, hardware, _) = tap.recvmsg(65_536, 64)
        except BlockingIOError:
            return
        latest = max(latest, _stamp(ancillary))
        if hardware not in _WITH_ETHERNET:  # Devices that carry bare IP packets.
            frame = bytes(12) + kind.to_bytes(2, "big") + frame
        if packet := decoded(frame):
            yield _Sighting(latest, place, device, packet_type == _PACKET_OUTGOING, packet, frame)


def _hops(sightings: Sequence[_Sighting], start: int) -> tuple[Hop, ...]:
    packets = [sighting.packet for sighting in sightings]
    changes = [(), *(tuple(_changes(earlier, later)) for earlier, later in pairwise(packets))]
    return tuple(
        Hop(round((s.time - start) / 1000, 1), s.place, s.device, "out" if s.out else "in", s.packet, changed)
        for s, changed in zip(sightings, changes, strict=False)
    )


def _changes(earlier: Packet, later: Packet) -> Iterator[str]:
    for tunnel in later.tunnels[len(earlier.tunnels) :]:
        port = f" port {tunnel.port}" if tunnel.port else ""
        yield f"into {tunnel.kind}: {tunnel.source} > {tunnel.target}{port}"
    for tunnel in earlier.tunnels[len(later.tunnels) :]:
        yield f"out of {tunnel.kind}"
    if len(earlier.tunnels) == len(later.tunnels) and earlier.macs != later.macs:
        yield f"MAC {later.macs[0]} > {later.macs[1]}"
    if earlier.ttl != later.ttl:
        yield f"TTL {earlier.ttl} > {later.ttl}"
    for what, old, new in (("source", earlier.source, later.source), ("target", earlier.target, later.target)):
        if old != new:
            yield f"NAT: {what} {old} > {new}"
    if earlier.ports != later.ports and earlier.ports and later.ports:
        yield f"NAT: ports {earlier.ports[0]}, {earlier.ports[1]} > {later.ports[0]}, {later.ports[1]}"


class _Shot:
    """One packet to be sent, and the sockets that this takes."""

    def __init__(self, address: Address, port: int, size: int, source: Namespace, target: Namespace) -> None:
        self.address, self.port, self.source, self.target = str(address), port, source, target
        self.version = address.version
        self.family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self.mark = secrets.token_bytes(16)
        self.size = size
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def open(self, where: Namespace, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        with where.entered():
            sock = socket.socket(self.family, kind, protocol)
        self._sockets.append(sock)
        sock.setblocking(False)
        if self.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
        return sock

    def padded(self, headers: int) -> bytes:
        """The mark, filled up so that the packet has its size with these headers and IP's."""
        wanted = self.size - headers - (20 if self.version == 4 else 40)
        return self.mark + bytes(max(wanted - len(self.mark), 0))

    def unsent(self, error: OSError) -> str:
        """Why the source could not send."""
        if error.errno == errno.EMSGSIZE:
            return f"{self.size} bytes are more than the MTU of the device that it would leave by"
        return error.strerror or str(error)

    def fire(self) -> str:
        """Sends, and waits for an answer or for patience to end. Returns why it could not be sent, if so."""
        raise NotImplementedError

    def marked(self, seen: Iterable[_Sighting]) -> list[_Sighting]:
        """The sightings of the packet, its answer, and of errors about either."""
        return [sighting for sighting in seen if self.mark in sighting.frame]

    def is_back(self, sighting: _Sighting) -> bool:
        """Whether it is on its way back."""
        raise NotImplementedError


def _until(deadline: float, sockets: Sequence[socket.socket], act: Callable[[socket.socket], bool]) -> None:
    """Calls `act` for each socket that can be read, until it says that this is enough."""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sockets, [], [], left)
        if any(act(sock) for sock in ready):
            time.sleep(_LINGER_S)  # For the taps to have it all.
            return


class _Icmp(_Shot):
    def fire(self) -> str:
        sock = self.open(self.source, socket.SOCK_RAW, _IPPROTO[self.version])
        echo = dpkt.icmp.ICMP.Echo(id=os.getpid() & 0xFFFF, seq=1, data=self.padded(8))
        kind = dpkt.icmp.ICMP if self.version == 4 else dpkt.icmp6.ICMP6
        message = kind(type=_ECHO[self.version], data=echo)
        try:
            sock.sendto(bytes(message), (self.address, 0))
        except OSError as error:
            return self.unsent(error)

        def is_answer(sock: socket.socket) -> bool:
            data = sock.recv(65_536)
            kinds = data[20 if self.version == 4 else 0]
            return self.mark in data and kinds != _ECHO[self.version]

        _until(time.monotonic() + PATIENCE_S, [sock], is_answer)
        return ""

    def is_back(self, sighting: _Sighting) -> bool:
        return sighting.packet.icmp != _ECHO[self.version]


class _Udp(_Shot):
    def fire(self) -> str:
        answerer = self.open(self.target, socket.SOCK_DGRAM)
        with suppress(OSError):  # Somebody listens there already, who may answer or not.
            answerer.bind((self.address, self.port))
        sender = self.open(self.source, socket.SOCK_DGRAM)
        try:
            sender.connect((self.address, self.port))
            sender.send(self.padded(8))
        except OSError as error:
            return self.unsent(error)

        def act(sock: socket.socket) -> bool:
            try:
                data, peer = sock.recvfrom(65_536)
                if sock is answerer and data.startswith(self.mark):
                    sock.sendto(self.mark + _ANSWER, peer)
            except OSError:  # The error that came instead of an answer.
                return True
            return sock is sender

        _until(time.monotonic() + PATIENCE_S, [answerer, sender], act)
        return ""

    def is_back(self, sighting: _Sighting) -> bool:
        return bool(sighting.packet.error) or self.mark + _ANSWER in sighting.frame


class _Tcp(_Shot):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._number: int | None = None
        self._own_port = 0

    def fire(self) -> str:
        listener = self.open(self.target, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # Somebody listens there already.
            listener.bind((self.address, self.port))
            listener.listen(1)
        sender = self.open(self.source, socket.SOCK_STREAM)
        try:
            sender.connect((self.address, self.port))
        except BlockingIOError:
            pass
        except OSError as error:
            return self.unsent(error)
        self._own_port = sender.getsockname()[1]
        _, connected, _ = select.select([], [sender], [], PATIENCE_S)
        if connected:
            time.sleep(_LINGER_S)
        return ""

    def marked(self, seen: Iterable[_Sighting]) -> list[_Sighting]:
        everything = list(seen)
        wanted = (self._own_port, self.port)
        syns = [(s.time, s.packet.tcp[0]) for s in everything if s.packet.ports == wanted and s.packet.tcp]
        if not syns:
            return []
        _, number = min(syns)
        self._number = number
        return [sighting for sighting in everything if self._is_mine(sighting, number)]

    def _is_mine(self, sighting: _Sighting, number: int) -> bool:
        """The SYN, what acknowledges or resets it, and errors that quote it."""
        packet = sighting.packet
        if packet.tcp is None:
            return bool(packet.error) and number.to_bytes(4, "big") in sighting.frame
        is_own = packet.ports == (self._own_port, self.port)
        return packet.tcp[0] == number or (packet.tcp[1] == (number + 1) % 2**32 and not is_own)

    def is_back(self, sighting: _Sighting) -> bool:
        return sighting.packet.tcp is None or sighting.packet.tcp[0] != self._number


_SHOTS: dict[Protocol, type[_Shot]] = {"icmp": _Icmp, "udp": _Udp, "tcp": _Tcp}


def _counters(namespace: Namespace) -> dict[str, int]:
    """What the IP layer of a namespace has counted: `Ip.OutNoRoutes` and the like."""
    found: dict[str, int] = {}
    with namespace.entered():
        texts = [Path("/proc/thread-self/net", name).read_text() for name in ("snmp", "netstat")]
    # Each group is two lines: `Ip: Forwarding DefaultTTL ...` and `Ip: 1 64 ...`.
    for heads, values in ((a.split(), b.split()) for text in texts for a, b in pairwise(text.splitlines())):
        if heads[0] == values[0]:
            group = heads[0].removesuffix(":")
            found |= {f"{group}.{name}": int(value) for name, value in zip(heads[1:], values[1:], strict=True)}
    return found


def _no_way(namespace: Namespace, place: str, to: Address) -> str:
    """Why a place cannot send to an address; empty if it has a route for it."""
    with namespace.entered():
        sock = socket.socket(socket.AF_INET if to.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        try:
            sock.connect((str(to), PORT))
        except OSError as error:
            return f"{place} has no way back to {to}: {error.strerror}"
    return ""


def _why(plan: Plan, namespace: Namespace, space: Space, before: dict[str, int]) -> Iterator[str]:
    """What the kernel knows of a packet that got no further than this namespace, and what there is not as planned."""
    place = space.name
    after = _counters(namespace)
    for counter, text in _REASONS.items():
        if after.get(counter, 0) > before.get(counter, 0):
            yield f"{place} {text}"
    with namespace.entered():
        silent, now = unanswered(), state(space.sysctls)
    yield from (f"{place} asked for {address} on {device}, and nobody answered" for address, device in silent)
    yield from (f"on {place}, {difference.what}" for difference in differences(plan, space, now))


_REASONS = {
    "Ip.OutNoRoutes": "has no route for it",
    "IpExt.InNoRoutes": "has no route for it",
    "Ip.InAddrErrors": "got it for an address that is not its own, and does not forward",
    "Ip.InHdrErrors": "dropped it for its header (TTL, or checksum)",
    "Ip.FragFails": "may not fragment it for the next link",
    "Ip.OutDiscards": "discarded it on the way out",
    "Ip.InDiscards": "discarded it on the way in",
    "TcpExt.IPReversePathFilter": "dropped it, as its source would be reached by another device (rp_filter)",
    "IpExt.InTruncatedPkts": "got it cut short",
}
"""By counter, as /proc/net/snmp and /proc/net/netstat name them."""
