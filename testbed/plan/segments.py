"""The Ethernets of a fabric, and who is on them by which device with which address.

Switches that are linked with each other are one Ethernet. A link without a switch at either end is one too, of two
ports, with addresses out of the transit range (RFC 3021, RFC 6164: a /31 or a /127 for each).
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from testbed.plan.naming import interface_name
from testbed.spec.types import Address, Interface, Network
from testbed.spec.underlay import Link, Underlay

UPLINK = "eth0"
"""The device by which a place with one link hangs on the fabric, and the first of a node with several."""


@dataclass(frozen=True)
class Port:
    """A node's or router's device on an Ethernet."""

    owner: str
    dev: str
    plug: str
    """What it is plugged into: a switch, or on a link without one the node or router at the other end."""
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
    """Empty of a link without a switch."""
    subnets: tuple[Network, ...]
    mtu: int
    ports: tuple[Port, ...]
    """Of the nodes on it in the topology's order, then of the routers."""


@dataclass(frozen=True)
class PluggedLink:
    """A link with the devices at its ends."""

    link: Link
    devices: tuple[str, str]

    @property
    def ends(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Place and device of either end."""
        one, other = zip(self.link.ends, self.devices, strict=True)
        return one, other


def of_family(addresses: tuple[Interface, ...], family: int) -> Address:
    """The address of that family, which must be among them."""
    for address in addresses:
        if address.version == family:
            return address.ip
    raise LookupError(f"no IPv{family} address among {addresses}")


def at(cidr: Network, index: int) -> Interface:
    """The index-th address of cidr, with cidr's prefix; -1 is the last usable one."""
    if index < 0:
        # IPv4 keeps the very last address for broadcast.
        index += cidr.num_addresses - (1 if cidr.version == 4 else 0)
    if cidr.version == 4:
        return ipaddress.IPv4Interface((int(cidr.network_address) + index, cidr.prefixlen))
    return ipaddress.IPv6Interface((int(cidr.network_address) + index, cidr.prefixlen))


def _pair(cidr: Network, index: int) -> Network:
    """The index-th two addresses of a range."""
    return ipaddress.ip_network((int(cidr.network_address) + 2 * index, cidr.max_prefixlen - 1))


def port_to(place: str) -> str:
    """The device that leads to a place, of a switch or of a router with several links."""
    return interface_name("to", place)


def plugged(underlay: Underlay, nodes: Iterable[str]) -> tuple[PluggedLink, ...]:
    """The links with their devices: a node's are eth0, eth1, ...; others' are named for where they lead."""
    numbers = {node: count() for node in nodes}
    degree = Counter(end for link in underlay.links for end in link.ends)
    alike: Counter[tuple[str, str]] = Counter()

    def device(owner: str, far: str) -> str:
        if owner in numbers:
            return f"eth{next(numbers[owner])}"
        if owner not in underlay.switches and degree[owner] == 1:
            return UPLINK
        alike[owner, far] += 1
        again = alike[owner, far]
        return port_to(far) if again == 1 else interface_name(f"to{again}", far)

    return tuple(PluggedLink(link, (device(*link.ends), device(*reversed(link.ends)))) for link in underlay.links)


def segments(underlay: Underlay, nodes: Iterable[str], links: Iterable[PluggedLink]) -> tuple[Segment, ...]:
    """Every Ethernet: those of switches in their order, then links without one in theirs."""
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
        made.append(
            Segment(number, names, subnets, mtus[number], tuple(_ports(number, ports, subnets, underlay.routers)))
        )
    return (*made, *_lines(underlay, lines, len(made)))


def _ports(
    number: int, found: list[tuple[str, str, str]], subnets: tuple[Network, ...], routers: tuple[str, ...]
) -> Iterator[Port]:
    """Nodes have the first addresses of a subnet, routers the last ones."""
    of_routers = frozenset(routers)
    up, down = count(1), count(-1, -1)
    for owner, dev, plug in found:
        index = next(down if owner in of_routers else up)
        yield Port(owner, dev, plug, number, tuple(at(cidr, index) for cidr in subnets))


def _lines(underlay: Underlay, lines: list[PluggedLink], first: int) -> Iterator[Segment]:
    for index, item in enumerate(lines):
        subnets = tuple(_pair(cidr, index) for cidr in underlay.transit)
        (one, one_dev), (other, other_dev) = item.ends
        ends = ((one, one_dev, other), (other, other_dev, one))
        ports = tuple(
            Port(*end, first + index, tuple(at(cidr, place) for cidr in subnets)) for place, end in enumerate(ends)
        )
        if other not in underlay.routers:
            ports = ports[::-1]
        yield Segment(first + index, (), subnets, item.link.mtu, ports)
