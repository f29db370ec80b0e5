"""Follow one packet and its answer through the lab, hop by hop.

A packet socket in each namespace records every frame on every device, with the kernel's time stamp. One packet with a
unique mark is sent; the frames that carry the mark are its walk. ICMP and UDP carry the mark in the payload, as do the
ICMP errors that quote them; for TCP it is the sequence number of the SYN, which NAT does not change.

Only the socket that sent the packet decides whether it was answered: a frame at the sender's device may still be
dropped by a packet filter or by rp_filter.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from testbed.kernel.bpf import attached
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import Namespaces
from testbed.observe.causes import Ended, causes, counts, translations, watched
from testbed.observe.ends import End, addresses, end
from testbed.observe.frames import Packet, Ports, ports_of
from testbed.observe.ports import TRACE_PORT
from testbed.observe.shots import PATIENCE_S, SHOTS, Protocol, Shot
from testbed.observe.taps import STAMPS_S, Sighting, recorded, tap
from testbed.plan.objects import Bridge, Kind, Plan
from testbed.spec.types import Address

Outcome = Literal["answered", "answered by another", "refused", "no answer", "lost", "lost on the way back"]
NO_REASON = "no drop counter changed; state matches the plan in the whole lab"
_TRIES = 4
"""How often the packet is sent until every frame has the kernel's time stamp."""
_MOST_ASKED = 500
"""Most pods to ask whether they have the address of an end, those on the same nodes first."""
_REDIRECT = "redirect"
"""The ICMP error that reports no loss."""


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
    """What differs from the previous hop."""
    is_for_others: bool = False
    """Whether the frame is addressed to another device: a pod ignores it, a bridge forwards it."""


@dataclass(frozen=True)
class Walk:
    """The hops of a packet and its answer, and the outcome."""

    source: str
    target: str
    protocol: Protocol
    addresses: tuple[str, str]
    forth: tuple[Hop, ...]
    back: tuple[Hop, ...]
    """The answer, or the ICMP error that was sent instead."""
    outcome: Outcome
    """`answered` if the sender's socket received the target's answer, `answered by another` if it is another place's;
    `refused` if an error came back; `no answer` if the packet reached the target, which sent nothing; `lost on the way
    back` if an answer was sent; else `lost`."""
    reason: str
    """Why there was no answer, as far as known, the strongest evidence first; may be empty. Of an answered packet, the
    rules outside the plan that translated it."""

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        hops = (*self.forth, *self.back)
        seen = f"{len(self.forth)} sightings there, {len(self.back)} back"
        match self.outcome:
            case "answered":
                why = f"; {self.reason}" if self.reason else ""
                after = f" after {hops[-1].time_us:.1f} µs" if hops else ""
                return f"answered{after}; {seen}{self._fragmented}{why}"
            case "refused" | "answered by another":
                return f"{self.outcome.split()[0]}{': ' if self.outcome == 'refused' else ' '}{self.reason}"
            case "no answer":
                what = f"no answer, but the packet reached {self.target}"
            case "lost on the way back":
                answerer = self.back[0].place if self.back[0].direction == "out" else self.target
                what = f"{answerer} answered, but the answer was lost on the way back, {self.end}"
            case "lost":
                what = f"lost, {self.end}"
        return f"{what}{self._fragmented}; {self.reason or NO_REASON}"

    @property
    def _fragmented(self) -> str:
        """Where the packet and its answer were first seen in fragments; empty if nowhere."""
        parts = (("packet", self.forth), ("answer", self.back))
        first = ((what, next((hop for hop in hops if hop.packet.fragment), None)) for what, hops in parts)
        return "".join(f"; {what} fragmented at {hop.device} of {hop.place}" for what, hop in first if hop)

    @property
    def end(self) -> str:
        """Where the packet or its answer was last seen."""
        hops = (*self.forth, *self.back)
        return f"last seen at {hops[-1].device} of {hops[-1].place}" if hops else f"never left {self.source}"


def trace(
    plan: Plan,
    namespaces: Namespaces,
    source: str,
    target: str,
    protocol: Protocol = "icmp",
    port: int = TRACE_PORT,
    size: int = 0,
    family: int | None = None,
    ended: Ended = (),
    patience_s: float = PATIENCE_S,
) -> Walk:
    """Send one packet from a pod or node to another and record its walk.

    Source and target are names, or addresses of places: then the packet is sent from or to that address. `size` is
    that of the whole IP packet in bytes, at least the smallest possible; it is not fragmented. `family` is 4 or 6; the
    default is IPv4 if both ends have it. The processes that `ended` (see `Lab.ended`) may be the cause of a loss.
    An answer is awaited for `patience_s`. Raises CannotTrace.
    """
    one, other = end(plan, source), end(plan, target)
    own, address = addresses(one, other, family)
    ends = one.space, other.space
    tapped = _tapped(plan, namespaces, one, other, (own, address))
    for _ in range(_TRIES):
        before = counts(plan, namespaces, watched(plan, ends))
        here, there = (namespaces[space.name] for space in ends)
        shot = SHOTS[protocol](address, port, size, here, there, one.address, patience_s)
        taken = _taken(shot, {place: namespaces[place] for place in tapped}, ports_of(plan))
        if taken.is_in_order:
            break
    start = taken.sightings[0].time if taken.sightings else 0
    programs = _programs(plan, namespaces)
    forth, back = (
        _hops([each for each in _on_path(plan, taken, one, other) if shot.is_back(each) is way], start, programs)
        for way in (False, True)
    )
    outcome, reason = _outcome(shot, one, other, forth, back)
    known: Iterable[str] = ()
    if outcome == "answered":
        is_translated = any("NAT" in change for hop in (*forth, *back) for change in hop.changes)
        known = translations(plan, namespaces, before) if is_translated else ()
    else:
        way_back = _no_way(namespaces[other.space.name], other.space.name, own) if outcome == "no answer" else ""
        places = tuple(dict.fromkeys(_suspects(plan, one, other, forth, back)))
        known = (taken.unsent, reason, way_back, *causes(plan, namespaces, places, before, ended))
    reason = "; ".join(filter(None, known))
    names = one.space.name, other.space.name
    return Walk(*names, protocol, (str(own), str(address)), forth, back, outcome, reason)


def _tapped(plan: Plan, namespaces: Namespaces, one: End, other: End, ends: Sequence[Address]) -> list[str]:
    """The places to watch: both ends, nodes, the fabric, and other pods that have the address of an end by mistake.

    Not all pods: the kernel takes milliseconds to close a packet socket.
    """
    names = (one.space.name, other.space.name)
    near = (one.space.home, other.space.home)
    pods = [space for space in plan.of_kind(Kind.POD) if space.name not in names]
    pods.sort(key=lambda pod: pod.home not in near)
    return [
        *(space.name for space in plan.spaces if space.kind is not Kind.POD or space.name in names),
        *(pod.name for pod in pods[:_MOST_ASKED] if any(_has(namespaces[pod.name], address) for address in ends)),
    ]


def _has(namespace: Namespace, address: Address) -> bool:
    """Whether the namespace has the address."""
    with namespace.entered():
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def _on_path(plan: Plan, taken: "_Taken", one: End, other: End) -> Iterator[Sighting]:
    """The sightings without copies that go nowhere: on promiscuous bridges, and flooded to other pods."""
    ends = {one.space.name, other.space.name}
    copies = _dead_ends(plan)
    for sighting in taken.sightings:
        is_flooded = sighting.is_for_others and plan[sighting.place].kind is Kind.POD and sighting.place not in ends
        if not is_flooded and (sighting.place, sighting.device) not in copies:
            yield sighting


def _suspects(plan: Plan, one: End, other: End, forth: Sequence[Hop], back: Sequence[Hop]) -> Iterator[str]:
    """The places that may have lost the packet: where it was last seen, the next one, its path backwards, the ends."""
    hops = (*forth, *back)
    peers = {(a.space, a.name): b.space for veth in plan.veths for a, b in ((veth.a, veth.b), (veth.b, veth.a))}
    if hops:
        last = hops[-1]
        yield last.place
        if last.direction == "out" and (last.place, last.device) in peers:
            yield peers[last.place, last.device]
    yield from (hop.place for hop in reversed(hops))
    ends = (one, other) if back or not hops else (other, one)
    for space in (each.space for each in ends):
        yield from (space.name, space.home) if not hops else (space.home, space.name)


@dataclass(frozen=True)
class _Taken:
    """What the taps recorded of a shot."""

    sightings: tuple[Sighting, ...]
    unsent: str
    """Why the packet could not be sent; empty if it was."""
    is_in_order: bool
    """Whether the kernel stamped every sighting when it saw it, and not only when it was read."""


def _taken(shot: Shot, watched: Namespaces, ports: Ports) -> _Taken:
    """Fire the shot, with a tap in each of these namespaces."""
    with ExitStack() as stack:
        taps = {place: stack.enter_context(tap(namespace)) for place, namespace in watched.items()}
        time.sleep(STAMPS_S)
        stack.enter_context(shot)
        unsent = shot.fire()
        reading = time.time_ns()
        seen = [sighting for place, own in taps.items() for sighting in recorded(place, own, ports)]
    marked = tuple(sorted(shot.marked(seen), key=lambda sighting: sighting.time))
    return _Taken(marked, unsent, all(sighting.time < reading for sighting in marked))


def _dead_ends(plan: Plan) -> frozenset[tuple[str, str]]:
    """Promiscuous bridges: they receive a copy of the frames they forward, which goes nowhere."""
    bridges = ((space.name, link) for space in plan.spaces for link in space.links if isinstance(link, Bridge))
    return frozenset((place, bridge.name) for place, bridge in bridges if bridge.promiscuous)


def _outcome(shot: Shot, one: End, other: End, forth: Sequence[Hop], back: Sequence[Hop]) -> tuple[Outcome, str]:
    """The outcome, and what is known of it from the frames."""
    target = other.space.name
    errors = [hop for hop in back if hop.packet.error and hop.packet.error != _REDIRECT]
    got = (hop for hop in forth if (hop.place, hop.direction) == (target, "in"))
    arrived = any(not hop.packet.tunnels and not hop.is_for_others for hop in got)
    another = back[0].place if back and back[0].direction == "out" and back[0].place != target and not arrived else ""
    if shot.is_answered or (shot.is_refused and not errors and not another):
        return ("answered by another", f"by {another} instead of {target}") if another else ("answered", "")
    if errors:
        first, text = errors[0], f"{errors[0].packet.source} answered: {errors[0].packet.error}"
        if first.packet.target == shot.address:  # The error is about the answer.
            return "lost on the way back", text
        has_address = another and first.packet.source == shot.address  # Not a router on the path.
        return "refused", f"{another} answered instead of {target}: {first.packet.error}" if has_address else text
    if shot.is_refused:
        return "refused", f"{another} reset the connection instead of {target}"
    if back:
        return "lost on the way back", f"{another} has the address of {target}" if another else ""
    return ("no answer" if arrived else "lost"), ""


def _hops(sightings: Sequence[Sighting], start: int, programs: Mapping[tuple[str, str, str], str]) -> tuple[Hop, ...]:
    packets = [sighting.packet for sighting in sightings]
    changes = [(), *(tuple(_changes(earlier, later)) for earlier, later in pairwise(packets))]
    hops = (
        Hop(
            round((s.time - start) / 1000, 1),
            s.place,
            s.device,
            "out" if s.out else "in",
            s.packet,
            changed,
            s.is_for_others,
        )
        for s, changed in zip(sightings, changes, strict=False)
    )
    return tuple(
        replace(hop, changes=(*hop.changes, f"eBPF {program}"))
        if (program := programs.get((hop.place, hop.device, hop.direction)))
        else hop
        for hop in hops
    )


def _programs(plan: Plan, namespaces: Namespaces) -> dict[tuple[str, str, str], str]:
    """By place, device and direction: the eBPF program that is attached there now."""
    found = {}
    for space in plan.spaces:
        if space.bpf is None:
            continue
        with namespaces[space.name].entered():
            hooks = attached(space.bpf)
        for hook in hooks:
            if hook.where == "peer":
                veth = next(veth for veth in plan.veths if (veth.a.space, veth.a.name) == (space.name, hook.dev))
                found[veth.b.space, veth.b.name, "out"] = hook.program
            else:
                found[space.name, hook.dev, "in" if hook.where == "ingress" else "out"] = hook.program
    return found


def _changes(earlier: Packet, later: Packet) -> Iterator[str]:
    for tunnel in later.tunnels[len(earlier.tunnels) :]:
        port = f" port {tunnel.port}" if tunnel.port else ""
        yield f"into {tunnel.kind}: {tunnel.source} > {tunnel.target}{port}"
    for tunnel in earlier.tunnels[len(later.tunnels) :]:
        yield f"out of {tunnel.kind}"
    if len(earlier.tunnels) == len(later.tunnels) and earlier.macs != later.macs:
        yield f"MAC {later.macs[0]} > {later.macs[1]}"
    if later.fragment != earlier.fragment:
        yield f"fragmented: first fragment {later.fragment} bytes" if later.fragment else "reassembled"
    if earlier.ttl != later.ttl:
        yield f"TTL {earlier.ttl} > {later.ttl}"
    for what, old, new in (("source", earlier.source, later.source), ("target", earlier.target, later.target)):
        if old != new:
            yield f"NAT: {what} {old} > {new}"
    if earlier.ports != later.ports and earlier.ports and later.ports:
        yield f"NAT: ports {earlier.ports[0]}, {earlier.ports[1]} > {later.ports[0]}, {later.ports[1]}"


def _no_way(namespace: Namespace, place: str, to: Address) -> str:
    """Why a place cannot send to an address; empty if it has a route."""
    with namespace.entered():
        sock = socket.socket(socket.AF_INET if to.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with sock:
        try:
            sock.connect((str(to), TRACE_PORT))
        except OSError as error:
            return f"{place}: no way back to {to}: {error.strerror}"
    return ""
