"""Whether the packets of a sample crossed the path that its design claims, told by the counters of the devices.

Which devices a path crosses follows from what the design claims to be seen on the fabric: the ports of switches and
routers, each in its direction, and both nodes' tunnel devices where packets travel inside a tunnel. At least as much
must have been counted there as arrived at the end; what was lost on the way is no matter. All other ports and tunnels
must have stayed quiet. The kernel counts in any case, and reading takes about half a millisecond, so this is done for
every sample.
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
"""So much of what arrived must have been counted on the way, in packets or else in bytes.

Packets are the same everywhere while bytes are not, as tunnels add headers. But where a large segment is cut in pieces
on the way, packets are not the same, and bytes nearly so: a segment counts its headers once, its pieces each."""
MOST_BYTES = 0.75
LITTLE = 0.01
"""And no more than this of the packets beside the way."""
BACKGROUND = 8
"""So few packets say nothing: ARP, NDP, what a switch had to flood. They come to ends as well that they are not for."""


@dataclass(frozen=True)
class Counter:
    """What one device received (in) or sent (out)."""

    space: str
    device: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.device} of {self.space} {'received' if self.direction is Direction.IN else 'sent'}"


Arrival = tuple[Counter, ...]
"""Where is counted what arrives at an end: at all of its devices together."""
Counts = Mapping[Counter, Carried]
"""Since the device was made."""


@dataclass(frozen=True)
class Passage:
    """What must be counted while packets go between two ends, and what must not."""

    source: str
    target: str
    arrivals: tuple["Arrival", "Arrival"]
    """What came to the target, and what came back to the source."""
    crossed: tuple[tuple[Counter, "Arrival"], ...]
    """On the way, each with the arrival whose packets it must have counted."""
    quiet: tuple[Counter, ...]
    numbers: Mapping[tuple[str, str], int]
    """The kernel's number of each device, by space and name."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        ends = (counter for arrival in self.arrivals for counter in arrival)
        return tuple(dict.fromkeys((*ends, *(counter for counter, _ in self.crossed), *self.quiet)))


def passage(design: Design, topology: Topology, plan: Plan, source: str, target: str, family: int) -> Passage:
    """What must be counted while a source's packets go to a target, and the answers back, in family 4 or 6."""
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
            # Of several ways that are equally short packets take any; all of them have these in common.
            crossed += [(counter, arrival) for counter in found[0] if all(counter in way for way in found)]
            allowed.update(*found)
    quiet = tuple(counter for counter in _all(plan, one.home, other.home) if counter not in allowed)
    counters = (*forth, *back, *(counter for counter, _ in crossed), *quiet)
    return Passage(source, target, (forth, back), tuple(crossed), quiet, _numbers(plan, counters))


def _numbers(plan: Plan, counters: Iterable[Counter]) -> Mapping[tuple[str, str], int]:
    return {(item.space, item.device): plan.device(item.space, item.device).index for item in counters}


def _arrival(addresses: Layout, end: Space, sender: Space) -> Arrival:
    """Where is counted what arrives at an end; on one node a pod's own device tells what it sent to its node."""
    if end.kind is Kind.POD:
        return (Counter(end.name, POD_INTERFACE, Direction.IN),)
    if sender.kind is Kind.POD and sender.home == end.name:
        return (Counter(sender.name, POD_INTERFACE, Direction.OUT),)
    return tuple(Counter(end.name, port.dev, Direction.IN) for port in addresses.places[end.name].ports)


Course = list[Counter]
"""The counters of one way, in order."""


def _forth(design: Design, plan: Plan, addresses: Layout, one: Space, other: Space, family: int) -> tuple[Course, ...]:
    """The way to a pod is the design's; nodes are reached over the bare fabric, under every design."""
    if other.kind is Kind.NODE:
        return _straight(addresses, one, other, family)
    return _claimed(design, plan, addresses, one, other, family)


def _back(design: Design, plan: Plan, addresses: Layout, one: Space, other: Space, family: int) -> tuple[Course, ...]:
    """A node that asks from an address of its pods' range, as that of its tunnel device is, is answered as pods are.

    And a pod that another node sees as its own node, is answered as that one is.
    """
    is_masked = one.kind is Kind.POD and one.masked_towards(other, family)
    if is_masked or (one.kind is Kind.NODE and _asks_from_fabric(one, other, family)):
        return _straight(addresses, other, one, family)
    return _claimed(design, plan, addresses, other, one, family)


def _asks_from_fabric(node: Space, target: Space, family: int) -> bool:
    """Whether the node's kernel takes its address on the fabric as the source: that of the device of the best route."""
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
    """Before a packet enters the fabric a tunnel device has sent it; after it left the fabric one receives it."""
    leg, back = design.leg(plan, addresses, one, other, family), design.leg(plan, addresses, other, one, family)
    ends = []
    if leg.device:
        ends = [Counter(one.home, leg.device, Direction.OUT), Counter(other.home, back.device, Direction.IN)]
    found = design.crossing(plan, addresses, one, other, family)
    return tuple([*ends, *(_counter(seen) for seen in way)] for way in found)


def _counter(seen: Sighting) -> Counter:
    return Counter(seen.place, seen.port, seen.direction)


def _all(plan: Plan, *homes: str) -> Iterator[Counter]:
    """Every port of switches and routers, and every tunnel device of these nodes, both ways."""
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
    """The passage's counters now. A device that is not there has counted nothing."""
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
    """Why what was counted in between cannot have taken the passage; empty if it can."""
    moved = {counter: after[counter] - before[counter] for counter in of.counters}

    def came(arrival: Arrival) -> Carried:
        return sum((moved[counter] for counter in arrival), Carried(0, 0))

    total = came(of.arrivals[0]) + came(of.arrivals[1])
    if not total.packets:
        return f"no packet came to {of.target} or {of.source}"
    due: dict[Counter, Carried] = {}
    for counter, arrival in of.crossed:
        due[counter] = due.get(counter, Carried(0, 0)) + came(arrival)
    for counter, least in due.items():
        seen = moved[counter]
        few = seen.packets < MOST_PACKETS * (least.packets - BACKGROUND)
        if few and seen.bytes < MOST_BYTES * least.bytes:
            return f"{counter} {_text(seen)} of {_text(least)} that were to cross it"
    for counter in of.quiet:
        if moved[counter].packets > LITTLE * total.packets + BACKGROUND:
            return f"{counter} {_text(moved[counter])}, although nothing was to cross it"
    return ""


def _text(count: Carried) -> str:
    return f"{count.packets} packets ({count.bytes / 1e6:.3g} MB)"
