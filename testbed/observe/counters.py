"""Check by device counters whether the packets of a sample took the path that the design claims.

The design claims what is seen on the fabric. From this follow the devices of a path: ports of switches and routers,
each in one direction, and both nodes' tunnel devices if packets are encapsulated. They must have counted at least what
arrived at the end; losses do not matter. All other ports and tunnels must have stayed quiet. Reading the counters takes
about half a millisecond, so every sample is checked.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from testbed.designs.design import Design
from testbed.kernel.links import Carried, carried
from testbed.kernel.refusal import Namespaces
from testbed.plan.addressing import Layout
from testbed.plan.objects import TUNNELS, Bridge, DeviceAddress, Kind, Plan, Route, Space
from testbed.plan.pods import POD_INTERFACE
from testbed.plan.sightings import Direction, Sighting
from testbed.plan.ways import ways
from testbed.spec.topology import Topology

MOST_PACKETS = 0.9
"""Least share of the arrived packets, or else bytes, that a device on the path must have counted.

Packet counts are equal along a path, unlike bytes, since tunnels add headers. But where a large segment is split,
packet counts differ and bytes nearly agree: a segment has one set of headers, each piece its own."""
MOST_BYTES = 0.75
LITTLE = 0.01
"""Most packets off the path, as a share of those that arrived."""
BACKGROUND = 8
"""Packets to ignore: ARP, NDP and flooded frames, which also reach other ends."""


@dataclass(frozen=True)
class Counter:
    """What one device received (in) or sent (out)."""

    space: str
    device: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.device} of {self.space} {'received' if self.direction is Direction.IN else 'sent'}"


Arrival = tuple[Counter, ...]
"""The counters that together count what arrives at an end."""
Counts = Mapping[Counter, Carried]
"""Counts since the device was made."""


@dataclass(frozen=True)
class Passage:
    """The counters that must move while packets pass between two ends, and those that must not."""

    source: str
    target: str
    arrivals: tuple["Arrival", "Arrival"]
    """At the target, and of the answers at the source."""
    crossed: tuple[tuple[Counter, "Arrival"], ...]
    """Counters on the path, each with the arrival whose packets it must have counted."""
    quiet: tuple[Counter, ...]
    numbers: Mapping[tuple[str, str], int]
    """The interface index of each device, by space and name."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        ends = (counter for arrival in self.arrivals for counter in arrival)
        return tuple(dict.fromkeys((*ends, *(counter for counter, _ in self.crossed), *self.quiet)))


def passage(design: Design, topology: Topology, plan: Plan, source: str, target: str, family: int) -> Passage:
    """The passage of packets from a source to a target and of their answers, in family 4 or 6."""
    one, other = plan[source], plan[target]
    addresses = design.lay_out(topology, plan.allocation)
    forth, back = _arrival(addresses, other, one), _arrival(addresses, one, other)
    crossed: list[tuple[Counter, Arrival]] = []
    allowed: set[Counter] = set()
    if one.home != other.home:
        for found, arrival in (
            (_forth(design, plan, addresses, one, other, family), forth),
            (_back(design, plan, addresses, one, other, family), back),
        ):
            if not found:
                return Passage(source, target, (forth, back), (), (), _numbers(plan, (*forth, *back)))
            # Packets may take any of several equal paths; only the counters common to all are required.
            crossed += [(counter, arrival) for counter in found[0] if all(counter in way for way in found)]
            allowed.update(*found)
    quiet = tuple(counter for counter in _all(plan, one.home, other.home) if counter not in allowed)
    counters = (*forth, *back, *(counter for counter, _ in crossed), *quiet)
    return Passage(source, target, (forth, back), tuple(crossed), quiet, _numbers(plan, counters))


def _numbers(plan: Plan, counters: Iterable[Counter]) -> Mapping[tuple[str, str], int]:
    return {(item.space, item.device): plan.device(item.space, item.device).index for item in counters}


def _arrival(addresses: Layout, end: Space, sender: Space) -> Arrival:
    """The counters of what arrives at an end; from a pod to its own node, what the pod's device sent."""
    if end.kind is Kind.POD:
        return (Counter(end.name, POD_INTERFACE, Direction.IN),)
    if sender.kind is Kind.POD and sender.home == end.name:
        return (Counter(sender.name, POD_INTERFACE, Direction.OUT),)
    return tuple(Counter(end.name, port.dev, Direction.IN) for port in addresses.places[end.name].ports)


Course = list[Counter]
"""The counters of one path, in order."""


def _forth(design: Design, plan: Plan, addresses: Layout, one: Space, other: Space, family: int) -> tuple[Course, ...]:
    """The paths to a target: to a pod as the design claims, to a node over the bare fabric."""
    if other.kind is Kind.NODE:
        return _straight(addresses, one, other, family)
    return _claimed(design, plan, addresses, one, other, family)


def _back(design: Design, plan: Plan, addresses: Layout, one: Space, other: Space, family: int) -> tuple[Course, ...]:
    """The paths of the answers.

    A node whose source address is in its pod range (such as its tunnel device's) is answered like a pod; a pod that is
    masqueraded as its node is answered like that node.
    """
    is_masked = one.kind is Kind.POD and one.masked_towards(other, family)
    if is_masked or (one.kind is Kind.NODE and _asks_from_fabric(one, other, family)):
        return _straight(addresses, other, one, family)
    return _claimed(design, plan, addresses, other, one, family)


def _asks_from_fabric(node: Space, target: Space, family: int) -> bool:
    """Whether the node's source address is the one on the fabric; it is that of the device of the best route."""
    reached = next(address for address in target.reached_at if address.version == family)
    ways = [(route.to, route.dev) for route in node.of(Route) if not route.blackhole]
    ways += [(item.interface.network, item.dev) for item in node.of(DeviceAddress)]
    ways = [(to, dev) for to, dev in ways if to.version == family and reached in to]
    if not ways:
        return True
    _, dev = max(ways, key=lambda way: way[0].prefixlen)
    own = [item.interface.ip for item in node.of(DeviceAddress) if item.dev == dev and item.interface.version == family]
    return not own or own[0] in node.reached_at


def _straight(addresses: Layout, one: Space, other: Space, family: int) -> tuple[Course, ...]:
    return tuple([_counter(seen) for seen in way] for way in ways(addresses, one.home, other.home, family))


def _claimed(
    design: Design, plan: Plan, addresses: Layout, one: Space, other: Space, family: int
) -> tuple[Course, ...]:
    """The paths that the design claims, with the sending and the receiving tunnel device if there is a tunnel."""
    leg, back = design.leg(plan, addresses, one, other, family), design.leg(plan, addresses, other, one, family)
    ends = []
    if leg.device:
        ends = [Counter(one.home, leg.device, Direction.OUT), Counter(other.home, back.device, Direction.IN)]
    found = design.crossing(plan, addresses, one, other, family)
    return tuple([*ends, *(_counter(seen) for seen in way)] for way in found)


def _counter(seen: Sighting) -> Counter:
    return Counter(seen.place, seen.port, seen.direction)


def _all(plan: Plan, *homes: str) -> Iterator[Counter]:
    """The counters of all switch and router ports and of all tunnel devices of these nodes, in both directions."""
    fabric = [(s.name, name) for s in plan.of_kind(Kind.SWITCH, Kind.ROUTER) for name in plan.devices_of(s.name)]
    ports = [(space, name) for space, name in fabric if not isinstance(plan.device(space, name), Bridge)]
    tunnels = [
        (home, name)
        for home in dict.fromkeys(homes)
        for name, device in plan.devices_of(home).items()
        if isinstance(device, TUNNELS)
    ]
    for space, name in (*ports, *tunnels):
        for direction in Direction:
            yield Counter(space, name, direction)


def read(of: Passage, namespaces: Namespaces) -> Counts:
    """Read the passage's counters; zero for a missing device."""
    counts: dict[Counter, Carried] = {}
    for space in dict.fromkeys(space for space, _ in of.numbers):
        with namespaces[space].entered():
            found = carried(number for (where, _), number in of.numbers.items() if where == space)
        for counter in of.counters:
            if counter.space == space:
                nothing = (Carried(0, 0), Carried(0, 0))
                received, sent = found.get(of.numbers[space, counter.device], nothing)
                counts[counter] = received if counter.direction is Direction.IN else sent
    return counts


def astray(of: Passage, before: Counts, after: Counts) -> str:
    """Why the packets counted in between did not take the passage; empty if they may have."""
    moved = {counter: after[counter] - before[counter] for counter in of.counters}

    def came(arrival: Arrival) -> Carried:
        return sum((moved[counter] for counter in arrival), Carried(0, 0))

    total = came(of.arrivals[0]) + came(of.arrivals[1])
    if not total.packets:
        return f"no packet reached {of.target} or {of.source}"
    due: dict[Counter, Carried] = {}
    for counter, arrival in of.crossed:
        due[counter] = due.get(counter, Carried(0, 0)) + came(arrival)
    for counter, least in due.items():
        seen = moved[counter]
        few = seen.packets < MOST_PACKETS * (least.packets - BACKGROUND)
        if few and seen.bytes < MOST_BYTES * least.bytes:
            return f"{counter} {_text(seen)}, expected {_text(least)}"
    for counter in of.quiet:
        if moved[counter].packets > LITTLE * total.packets + BACKGROUND:
            return f"{counter} {_text(moved[counter])}, expected none"
    return ""


def _text(count: Carried) -> str:
    return f"{count.packets} packets ({count.bytes / 1e6:.3g} MB)"
