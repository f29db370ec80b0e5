"""Follow one packet and its answer through the lab, hop by hop.

A packet socket in each namespace records every frame on every device, with the kernel's time stamp. One packet with a
unique mark is sent; the frames that carry the mark are its walk. ICMP and UDP carry the mark in the payload, as do the
ICMP errors that quote them; for TCP it is the sequence number of the SYN, which NAT does not change.
"""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from testbed.kernel.bpf import attached
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import Namespaces
from testbed.kernel.state import unanswered
from testbed.observe.frames import Packet, Ports, ports_of
from testbed.observe.inspect import differences, state_for
from testbed.observe.ports import TRACE_PORT
from testbed.observe.program_counts import DROPPED, drops
from testbed.observe.shots import SHOTS, Protocol, Shot
from testbed.observe.taps import STAMPS_S, Sighting, recorded, tap
from testbed.plan.objects import Bridge, Kind, Plan, Space
from testbed.spec.types import Address

Outcome = Literal["answered", "refused", "no answer", "lost"]
NO_REASON = "no drop counter changed; state matches the plan there; `testbed inspect` checks all places"
_TRIES = 4
"""How often the packet is sent until every frame has the kernel's time stamp."""


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
    """`refused` if an error came back; `no answer` if the packet reached the target; else `lost`."""
    reason: str
    """Why there was no answer, as far as known; may be empty."""

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        hops = (*self.forth, *self.back)
        if self.outcome == "answered":
            nodes = f"{len(self.forth)} sightings there, {len(self.back)} back"
            return f"answered after {hops[-1].time_us:.1f} µs; {nodes}"
        if self.outcome == "refused":
            return f"refused: {self.reason}"
        arrived = f"no answer, but the packet reached {self.target}"
        what = arrived if self.outcome == "no answer" else f"lost, {self.end}"
        return f"{what}; {self.reason or NO_REASON}"

    @property
    def end(self) -> str:
        """Where the packet or its answer was last seen."""
        hops = (*self.forth, *self.back)
        return f"last seen at {hops[-1].device} of {hops[-1].place}" if hops else f"never left {self.source}"


class CannotTrace(Exception):
    """No packet can be sent between the two places; the message says why."""


def trace(
    plan: Plan,
    namespaces: Namespaces,
    source: str,
    target: str,
    protocol: Protocol = "icmp",
    port: int = TRACE_PORT,
    size: int = 0,
    family: int | None = None,
) -> Walk:
    """Send one packet from a pod or node to another and record its walk.

    `size` is that of the whole IP packet in bytes, at least the smallest possible; it is not fragmented. `family` is
    4 or 6; the default is IPv4 if both ends have it. Raises CannotTrace.
    """
    one, other = plan[source], plan[target]
    own, address = _addresses(one, other, family)
    watched = [space.name for space in plan.spaces if space.kind is not Kind.POD or space in (one, other)]
    for _ in range(_TRIES):
        before = {place: _counters(namespaces[place], plan[place]) for place in watched}
        shot = SHOTS[protocol](address, port, size, namespaces[source], namespaces[target])
        taken = _taken(shot, {place: namespaces[place] for place in watched}, ports_of(plan))
        if taken.is_in_order:
            break
    programs = _programs(plan, namespaces)
    start = taken.sightings[0].time if taken.sightings else 0
    ends = _dead_ends(plan)
    seen = [sighting for sighting in taken.sightings if (sighting.place, sighting.device) not in ends]
    forth, back = (
        _hops([each for each in seen if shot.is_back(each) is way], start, programs) for way in (False, True)
    )
    outcome, reason = _outcome(source, target, forth, back)
    if outcome in ("lost", "no answer"):
        last = (back or forth)[-1].place if forth else source
        no_way_back = _no_way(namespaces[target], target, own) if outcome == "no answer" else ""
        known = (taken.unsent, no_way_back, *_why(plan, namespaces[last], plan[last], before[last]))
        reason = "; ".join(filter(None, known))
    return Walk(source, target, protocol, (str(own), str(address)), forth, back, outcome, reason)


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


def _addresses(one: Space, other: Space, family: int | None) -> tuple[Address, Address]:
    """The source's and the target's address, in a family that both have."""
    if one is other:
        raise CannotTrace(f"source and target are both {one.name}: a packet to itself crosses no device")
    for wanted in (family,) if family else (4, 6):
        pair = [[at for at in space.reached_at if at.version == wanted] for space in (one, other)]
        if all(pair):
            return pair[0][0], pair[1][0]
    missing = next((space.name for space in (one, other) if not space.reached_at), "")
    if missing:
        raise CannotTrace(f"{missing} has no address to send from or to")
    lack = f"do not both have an IPv{family} address" if family else "share no address family"
    raise CannotTrace(f"{one.name} and {other.name} {lack}")


def _outcome(source: str, target: str, forth: Sequence[Hop], back: Sequence[Hop]) -> tuple[Outcome, str]:
    errors = [hop.packet for hop in back if hop.packet.error]
    if errors:
        return "refused", f"{errors[0].source} answered: {errors[0].error}"
    if any((hop.place, hop.direction) == (source, "in") for hop in back):
        return "answered", ""
    arrived = any((hop.place, hop.direction) == (target, "in") for hop in forth)
    return "no answer" if arrived and not back else "lost", ""


def _hops(sightings: Sequence[Sighting], start: int, programs: Mapping[tuple[str, str, str], str]) -> tuple[Hop, ...]:
    packets = [sighting.packet for sighting in sightings]
    changes = [(), *(tuple(_changes(earlier, later)) for earlier, later in pairwise(packets))]
    hops = (
        Hop(round((s.time - start) / 1000, 1), s.place, s.device, "out" if s.out else "in", s.packet, changed)
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
    if earlier.ttl != later.ttl:
        yield f"TTL {earlier.ttl} > {later.ttl}"
    for what, old, new in (("source", earlier.source, later.source), ("target", earlier.target, later.target)):
        if old != new:
            yield f"NAT: {what} {old} > {new}"
    if earlier.ports != later.ports and earlier.ports and later.ports:
        yield f"NAT: ports {earlier.ports[0]}, {earlier.ports[1]} > {later.ports[0]}, {later.ports[1]}"


def _counters(namespace: Namespace, space: Space) -> dict[str, int]:
    """IP counters of a namespace by name, such as `Ip.OutNoRoutes`, and the drops of its eBPF programs."""
    found: dict[str, int] = {}
    with namespace.entered():
        texts = [Path("/proc/thread-self/net", name).read_text() for name in ("snmp", "netstat")]
        found |= drops(space)
    # Each group is two lines: `Ip: Forwarding DefaultTTL ...` and `Ip: 1 64 ...`.
    for heads, values in ((a.split(), b.split()) for text in texts for a, b in pairwise(text.splitlines())):
        if heads[0] == values[0]:
            group = heads[0].removesuffix(":")
            found |= {f"{group}.{name}": int(value) for name, value in zip(heads[1:], values[1:], strict=True)}
    return found


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


def _why(plan: Plan, namespace: Namespace, space: Space, before: dict[str, int]) -> Iterator[str]:
    """Why a packet got no further than this namespace: counters, silent neighbours, differences from the plan."""
    place = space.name
    after = _counters(namespace, space)
    for counter in (counter for counter, count in after.items() if count > before.get(counter, 0)):
        if counter in _REASONS or DROPPED in counter:
            yield f"{place}: {_REASONS.get(counter, counter)}"
    with namespace.entered():
        silent, now = unanswered(), state_for(space)
    yield from (f"{place}: {device}: neighbour {address} does not answer" for address, device in silent)
    yield from (f"{place}: {difference.what}" for difference in differences(plan, space, now))


_REASONS = {
    "Ip.OutNoRoutes": "no route for the packet",
    "IpExt.InNoRoutes": "no route for the packet",
    "Ip.InAddrErrors": "destination is not a local address, and forwarding is off",
    "Ip.InHdrErrors": "packet dropped: bad header (TTL or checksum)",
    "Ip.FragFails": "packet must not be fragmented for the next link",
    "Ip.OutDiscards": "packet discarded on output",
    "Ip.InDiscards": "packet discarded on input",
    "TcpExt.IPReversePathFilter": "packet dropped by rp_filter: its source is routed by another device",
    "IpExt.InTruncatedPkts": "packet truncated",
}
"""By counter of /proc/net/snmp and /proc/net/netstat."""
