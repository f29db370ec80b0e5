"""The Ethernets of a fabric, with the devices and addresses on them.

Switches that are linked with each other form one Ethernet. A link without a switch at either end is an Ethernet of two
ports, with addresses from the transit range (a /31 or /127 per link; RFC 3021, RFC 6164).
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from testbed.plan.allocation import Allocator, Key, Room
from testbed.plan.naming import interface_name
from testbed.spec.shapes import room_in
from testbed.spec.types import Address, Interface, Network
from testbed.spec.underlay import Link, Underlay

UPLINK = "eth0"
"""The device of a place with one link to the fabric, and the first device of a node with several."""


@dataclass(frozen=True)
class Port:
    """A node's or router's device on an Ethernet."""

    owner: str
    dev: str
    plug: str
    """The far end of its link: a switch, router or node."""
    segment: int
    addresses: tuple[Interface, ...]

    def address(self, family: int) -> Address:
        """Its address in that family, 4 or 6."""
        return of_family(self.addresses, family)


@dataclass(frozen=True)
class Segment:
    """An Ethernet."""

    number: int
    switches: tuple[str, ...]
    """Empty for a link without a switch."""
    subnets: tuple[Network, ...]
    mtu: int
    ports: tuple[Port, ...]
    """First those of nodes, in the topology's order, then those of routers."""


@dataclass(frozen=True)
class PluggedLink:
    """A link with the devices at its ends."""

    link: Link
    devices: tuple[str, str]

    @property
    def ends(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Place and device of each end."""
        one, other = zip(self.link.ends, self.devices, strict=True)
        return one, other


def of_family(addresses: tuple[Interface, ...], family: int) -> Address:
    """The first address of that family. Raises LookupError if there is none."""
    for address in addresses:
        if address.version == family:
            return address.ip
    raise LookupError(f"no IPv{family} address among {addresses}")


def at(cidr: Network, index: int) -> Interface:
    """The index-th address of cidr, with cidr's prefix; -1 is the last usable one."""
    if index < 0:
        # The last address of IPv4 is for broadcast.
        index += cidr.num_addresses - (1 if cidr.version == 4 else 0)
    if cidr.version == 4:
        return ipaddress.IPv4Interface((int(cidr.network_address) + index, cidr.prefixlen))
    return ipaddress.IPv6Interface((int(cidr.network_address) + index, cidr.prefixlen))


def _pair(cidr: Network, index: int) -> Network:
    """The index-th pair of addresses of a range."""
    return ipaddress.ip_network((int(cidr.network_address) + 2 * index, cidr.max_prefixlen - 1))


def port_to(place: str) -> str:
    """The device of a switch, or of a router with several links, that leads to a place."""
    return interface_name("to", place)


def plugged(underlay: Underlay, nodes: Mapping[str, int], numbers: Allocator) -> tuple[PluggedLink, ...]:
    """The links with their devices: eth0, eth1, ... for nodes; others are named after the far end.

    `nodes` are all nodes with their numbers.
    """
    counted = _counted(underlay.links)
    own: dict[str, list[Key]] = {node: [] for node in nodes}
    for link, again in zip(underlay.links, counted, strict=True):
        for owner, far in (link.ends, link.ends[::-1]):
            if owner in own:
                own[owner].append((far, str(again)))
    ports = {
        node: _node_ports(keys, numbers.numbers(f"ports of node {nodes[node]}", keys)) for node, keys in own.items()
    }
    degree = Counter(end for link in underlay.links for end in link.ends)

    def device(owner: str, far: str, again: int) -> str:
        if owner in ports:
            return ports[owner][far, str(again)]
        name = port_to(far) if again == 1 else interface_name(f"to{again}", far)
        if owner in underlay.switches:
            return name
        return numbers.settle("ports of routers", (owner, far, str(again)), UPLINK if degree[owner] == 1 else name)

    return tuple(
        PluggedLink(link, (device(*link.ends, again), device(*link.ends[::-1], again)))
        for link, again in zip(underlay.links, counted, strict=True)
    )


def _counted(links: Iterable[Link]) -> list[int]:
    """The number of each link among the links between the same two places, from 1."""
    parallel: Counter[frozenset[str]] = Counter()
    found = []
    for link in links:
        ends = frozenset(link.ends)
        parallel[ends] += 1
        found.append(parallel[ends])
    return found


def _node_ports(keys: list[Key], numbers: tuple[int, ...]) -> dict[Key, str]:
    """The devices of a node by link. A node without its first link is renumbered, as each node must have an eth0."""
    own = numbers if 0 in numbers else range(len(numbers))
    return {key: f"eth{number}" for key, number in zip(keys, own, strict=True)}


def segments(
    underlay: Underlay, nodes: Iterable[str], links: Iterable[PluggedLink], numbers: Allocator
) -> tuple[Segment, ...]:
    """All Ethernets: first those of switches, then links without a switch, in the underlay's order."""
    order = {name: number for number, name in enumerate((*nodes, *underlay.routers))}
    ethernets = underlay.ethernets()
    number_of = {name: number for number, names in enumerate(ethernets) for name in names}
    found: list[list[tuple[str, str, str]]] = [[] for _ in ethernets]
    mtus: dict[int, int] = {}
    lines: list[PluggedLink] = []
    for item in links:
        (one, one_dev), (other, other_dev) = item.ends
        if one not in number_of and other not in number_of:
            lines.append(item)
            continue
        mtus[number_of[one if one in number_of else other]] = item.link.mtu
        if other not in number_of:
            found[number_of[one]].append((other, other_dev, one))
        elif one not in number_of:
            found[number_of[other]].append((one, one_dev, other))
    made = []
    for number, names in enumerate(ethernets):
        subnets = tuple(cidr for name in names for cidr in underlay.switches[name])
        ports = sorted(found[number], key=lambda port: order[port[0]])
        own = dict(_addresses(ports, " and ".join(names), subnets, underlay.routers, numbers))
        on_it = tuple(Port(owner, dev, plug, number, own[owner, dev]) for owner, dev, plug in ports)
        made.append(Segment(number, names, subnets, mtus[number], on_it))
    return (*made, *_lines(underlay, lines, len(made), numbers))


def _addresses(
    ports: Iterable[tuple[str, str, str]],
    where: str,
    subnets: tuple[Network, ...],
    routers: tuple[str, ...],
    numbers: Allocator,
) -> Iterator[tuple[tuple[str, str], tuple[Interface, ...]]]:
    """Addresses by port of a switched Ethernet. Nodes have the first addresses of a subnet, routers the last."""
    of_routers = frozenset(routers)
    keys = [(owner, dev) for owner, dev, _ in ports]
    down = [key for key in keys if key[0] in of_routers]
    up = [key for key in keys if key[0] not in of_routers]
    for key, number in zip(down, numbers.numbers(f"router addresses on {where}", down), strict=True):
        yield key, tuple(at(cidr, -1 - number) for cidr in subnets)
    size = min(map(room_in, subnets)) - numbers.given(f"router addresses on {where}")
    room = Room(size, f"node address on {where}", "link the node elsewhere, or recreate the lab with a larger subnet")
    for key, number in zip(up, numbers.numbers(f"node addresses on {where}", up, room), strict=True):
        yield key, tuple(at(cidr, 1 + number) for cidr in subnets)


def _lines(underlay: Underlay, lines: list[PluggedLink], first: int, numbers: Allocator) -> Iterator[Segment]:
    """Links without a switch, each with a pair of addresses in the transit range."""
    keys = [
        (*item.link.ends, str(again)) for item, again in zip(lines, _counted(item.link for item in lines), strict=True)
    ]
    size = min((cidr.num_addresses // 2 for cidr in underlay.transit), default=0)
    room = Room(size, "pair of transit addresses", "recreate the lab with a larger transit range")
    pairs = numbers.numbers("transit pairs", keys, room)
    for number, (item, pair) in enumerate(zip(lines, pairs, strict=True), start=first):
        subnets = tuple(_pair(cidr, pair) for cidr in underlay.transit)
        (one, one_dev), (other, other_dev) = item.ends
        ends = ((one, one_dev, other), (other, other_dev, one))
        ports = tuple(Port(*end, number, tuple(at(cidr, place) for cidr in subnets)) for place, end in enumerate(ends))
        if other not in underlay.routers:
            ports = ports[::-1]
        yield Segment(number, (), subnets, item.link.mtu, ports)
