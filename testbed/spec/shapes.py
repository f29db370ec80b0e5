"""Fabrics given as a shape: one subnet, racks, leaves and spines, or sites.

Each has its `underlay`, the names (`places`) and `ranges` that it uses, and its checks (`misfits`).
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from testbed.spec.problems import Loc, Misfit, counted, each, item
from testbed.spec.qualities import (
    MAX_MTU,
    MIN_MTU,
    Defaults,
    LinkQualities,
    changed,
    link_misfits,
    planned,
    quality_misfits,
)
from testbed.spec.qualities import Link as LinkOf
from testbed.spec.types import Network, NetworkRange, Spec, listed, one_or_many
from testbed.spec.underlay import Link, Underlay

SWITCH = "fabric"
ROUTER = "gateway"
"""The switch and router of a fabric with one subnet; racks joined by a router also use `ROUTER`."""
MAX_RACKS = 250
MAX_SPINES = 64
MAX_HOMES = 8
MAX_SITES = 40
"""Sites form a full mesh."""
USUAL_SUBNET = {4: 24, 6: 64}
"""Default prefix lengths of the subnets of racks and sites."""
DEFAULT_TRANSIT: dict[int, Network] = {
    4: ipaddress.ip_network("172.31.0.0/16"),
    6: ipaddress.ip_network("fd00:172:31::/64"),
}

Members = Mapping[str, str | None]
"""Nodes by name, each with its `at`."""
Families = tuple[int, ...]
"""Address families, 4 and 6, in the order of the file."""
Ranges = Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})]
_PLAIN = LinkQualities.model_construct()
"""Not validated, as building the validator here would slow every import."""


class Sized(Spec):
    """Fields of every fabric."""

    shape: str
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=MAX_MTU, description="MTU of the fabric, in bytes")

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """MTUs in the file, with their locations."""
        yield ("fabric", "mtu"), self.mtu


class _Ranged(Spec):
    shape: str
    subnet: Ranges = Field(
        min_length=1,
        description="range of the nodes' addresses, or a list with one IPv4 and one IPv6 range",
    )


class _Shape(Defaults, Sized, _Ranged):
    """Fields and checks of all shapes."""

    overrides: Annotated[tuple[LinkOf, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="different qualities of single links, such as {ends: [node1, fabric], delay: 5ms}",
    )

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """MTUs in the file, with their locations."""
        yield from super().mtus()
        for number, override in enumerate(self.overrides):
            if override.mtu is not None:
                yield ("fabric", "overrides", number, "mtu"), override.mtu

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        raise NotImplementedError

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        raise NotImplementedError

    def default_places(self) -> tuple[str, ...]:
        """Places that nodes without `at` are assigned to, round-robin; empty if all nodes are at one place."""
        return ()

    def placement(self, nodes: Members) -> Mapping[str, str]:
        """The place of each node; empty if all are at one place."""
        return {}

    def prefixes(self, nodes: Members) -> tuple[int, ...]:
        """Prefix length of a rack's or site's subnet, for each range; empty if ranges are not split."""
        return ()

    def _changed(self, links: Iterable[Link]) -> tuple[Link, ...]:
        """The links with overrides applied."""
        own = {frozenset(override.ends): override for override in self.overrides}
        return tuple(changed(link, override) if (override := own.get(frozenset(link.ends))) else link for link in links)

    def _override_misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        known = dict.fromkeys((*nodes, *self.places()))
        for number, override in enumerate(self.overrides):
            yield from each(_end_misfits(("fabric", "overrides", number, "ends"), override, known))
        underlay = self.underlay(nodes, pod_families)
        links = {frozenset(link.ends): link for link in underlay.links}
        seen: set[frozenset[str]] = set()
        for number, override in enumerate(self.overrides):
            at: Loc = ("fabric", "overrides", number)
            one, other = override.ends
            ends = frozenset(override.ends)
            if ends in seen:
                yield Misfit((*at, "ends"), "this link already has an override; combine them")
            elif ends in links:
                yield from each(_changed_misfits(at, override, links[ends], underlay))
            elif one in known and other in known:
                far = [end for pair in links if one in pair for end in pair if end != one]
                yield Misfit((*at, "ends"), f"no link between {one} and {other}; {one} is linked to {', '.join(far)}")
            if ends in links:
                seen.add(ends)

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Ranges in the file, with their locations."""
        return written(("fabric", "subnet"), self.subnet)

    @property
    def _families(self) -> Families:
        return families_of(self.subnet)

    def _node_link(self, node: str, place: str) -> Link:
        return planned((node, place), _PLAIN, self.mtu, self)

    def _link(self, one: str, other: str, qualities: LinkQualities = _PLAIN) -> Link:
        return planned((one, other), qualities, self.mtu)

    def _range_misfits(self, room: Mapping[Network, int], nodes: int, more: str = "") -> Iterator[Misfit]:
        for index, cidr in enumerate(self.subnet):
            if room[cidr] < nodes:
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{cidr} has addresses for {counted(room[cidr], 'node')}{more}, but the fabric has "
                    f"{counted(nodes, 'node')}; write a larger range",
                )


class OneSubnet(_Shape):
    """One subnet with all nodes and a router."""

    shape: Literal["one-subnet"] = Field(default="one-subnet", description="one-subnet: a switch and a router")

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        return {SWITCH: "the fabric's switch", ROUTER: "the fabric's router"}

    def misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        """Values that do not fit together."""
        yield from each(
            self._room_misfits(nodes),
            place_misfits(nodes, [SWITCH]),
            default_misfits(self),
            self._override_misfits(nodes, pod_families),
        )

    def _room_misfits(self, nodes: Members) -> Iterator[Misfit]:
        room = {cidr: max(cidr.num_addresses - (3 if cidr.version == 4 else 2), 0) for cidr in self.subnet}
        return self._range_misfits(room, len(nodes), " and the gateway")

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        links = [self._link(ROUTER, SWITCH), *(self._node_link(node, SWITCH) for node in nodes)]
        return Underlay({SWITCH: self.subnet}, (ROUTER,), self._changed(links), families=self._families)


class _Racks(_Shape):
    """A shape with several racks (or sites), each with its own subnet and a router in it."""

    subnet_prefix: Annotated[tuple[int, ...], *one_or_many({"type": "integer", "minimum": 0, "maximum": 126})] = Field(
        default=(),
        description="prefix length of each rack's or site's subnet, or a list with one per range; if absent 24 (IPv4) "
        "and 64 (IPv6), or what fits the nodes",
    )

    def racks(self) -> list[str]:
        """Names of the racks or sites."""
        raise NotImplementedError

    def default_places(self) -> tuple[str, ...]:
        return tuple(self.racks())

    def placement(self, nodes: Members) -> Mapping[str, str]:
        racks, places = set(self.racks()), self.default_places()
        return {
            node: at if at in racks else places[number % len(places)] for number, (node, at) in enumerate(nodes.items())
        }

    def _parts(self, nodes: Members) -> dict[str, list[str]]:
        """Nodes of each rack."""
        parts: dict[str, list[str]] = {rack: [] for rack in self.racks()}
        for node, at in self.placement(nodes).items():
            parts[at].append(node)
        return parts

    def misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        """Values that do not fit together."""
        room = list(each(self._room_misfits(nodes)))
        yield from each(place_misfits(nodes, self.racks()), default_misfits(self), room)
        if not room:
            yield from each(self._further_misfits(nodes, pod_families), self._override_misfits(nodes, pod_families))

    def _further_misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        return iter(())

    def _room_misfits(self, nodes: Members) -> Iterator[Misfit]:
        parts = self._parts(nodes)
        most = max(parts, key=lambda name: len(parts[name]))
        if self.subnet_prefix:
            yield from self._prefix_misfits(parts, most)
            return
        for index, cidr in enumerate(self.subnet):
            if _share_length(cidr, len(parts), len(parts[most]) + 1) is None:
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{cidr} cannot be split into {counted(len(parts), 'subnet')} with addresses for the "
                    f"{counted(len(parts[most]), 'node')} of {most} and a router; write a larger range",
                )

    def _prefix_misfits(self, parts: Mapping[str, list[str]], most: str) -> Iterator[Misfit]:
        if len(self.subnet_prefix) != len(self.subnet):
            yield Misfit(
                ("fabric", "subnet_prefix"),
                f"expected {counted(len(self.subnet), 'length')}, one for each range of subnet, found "
                f"{len(self.subnet_prefix)}",
            )
            return
        for index, (cidr, length) in enumerate(zip(self.subnet, self.subnet_prefix, strict=True)):
            shortest, longest = _share_lengths(cidr, len(parts), len(parts[most]) + 1)
            if not shortest <= length <= longest:
                remedy = f"write one from {shortest} to {longest}" if shortest <= longest else "write a larger subnet"
                yield Misfit(
                    item(("fabric", "subnet_prefix"), index, self.subnet_prefix),
                    f"{cidr} cannot be split into {counted(len(parts), 'subnet')} of /{length} with addresses for "
                    f"the {counted(len(parts[most]), 'node')} of {most} and a router; {remedy}",
                )

    def prefixes(self, nodes: Members) -> tuple[int, ...]:
        parts = self._parts(nodes)
        hosts = max(map(len, parts.values())) + 1
        return self.subnet_prefix or tuple(
            _share_length(cidr, len(parts), hosts) or cidr.prefixlen for cidr in self.subnet
        )

    def _subnets(self, nodes: Members) -> dict[str, tuple[Network, ...]]:
        lengths = self.prefixes(nodes)
        return {
            name: tuple(_share(cidr, length, number) for cidr, length in zip(self.subnet, lengths, strict=True))
            for number, name in enumerate(self.racks())
        }

    def _node_links(self, nodes: Members) -> Iterator[Link]:
        at = self.placement(nodes)
        return (self._node_link(node, at[node]) for node in nodes)


class Subnets(_Racks):
    """Racks joined by one router; each rack is a switch with its own subnet."""

    shape: Literal["subnets"] = Field(description="subnets: racks with a subnet each, joined by one router")
    subnets: int = Field(default=2, ge=1, le=MAX_RACKS, description="number of racks: rack1, rack2, ...")

    def racks(self) -> list[str]:
        return numbered("rack", self.subnets)

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        return dict.fromkeys(self.racks(), "a switch of the fabric") | {ROUTER: "the fabric's router"}

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        links = [*(self._link(ROUTER, rack) for rack in self.racks()), *self._node_links(nodes)]
        return Underlay(self._subnets(nodes), (ROUTER,), self._changed(links), families=self._families)


class _Routed(_Racks):
    """A shape with links between routers."""

    transit: Ranges = Field(
        default=(),
        description="range for the links between routers, or a list with one range per family; 172.31.0.0/16 and "
        "fd00:172:31::/64 if absent",
    )

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Ranges in the file, with their locations."""
        yield from super().ranges()
        yield from written(("fabric", "transit"), self.transit)

    def _transit(self) -> tuple[Network, ...]:
        return of_families(self._families, self.transit, DEFAULT_TRANSIT)


class LeafSpine(_Routed):
    """Racks with a leaf router each; every leaf is linked to every spine."""

    shape: Literal["leaf-spine"] = Field(description="leaf-spine: racks with a leaf router each, linked to every spine")
    leaves: int = Field(default=2, ge=1, le=MAX_RACKS, description="number of racks and leaf routers")
    spines: int = Field(default=2, ge=1, le=MAX_SPINES, description="number of spine routers")
    homes: int = Field(
        default=1,
        ge=1,
        le=MAX_HOMES,
        description="number of leaves that each node is linked to; with more than one, racks have no switches, and a "
        "node's address is on its loopback device",
    )
    uplinks: LinkQualities = Field(
        default=_PLAIN,
        description="qualities of the links between leaves and spines; `back` is from spine to leaf",
        json_schema_extra={"default": {}},
    )

    def racks(self) -> list[str]:
        return numbered("rack", self.leaves) if self.homes == 1 else self._leaves()

    def default_places(self) -> tuple[str, ...]:
        """With several homes, the first leaf of each group of leaves."""
        racks = self.racks()
        return tuple(dict.fromkeys(racks[number * self.homes % self.leaves] for number in range(self.leaves)))

    def prefixes(self, nodes: Members) -> tuple[int, ...]:
        return super().prefixes(nodes) if self.homes == 1 else ()

    def _leaves(self) -> list[str]:
        return numbered("leaf", self.leaves)

    def _spines(self) -> list[str]:
        return numbered("spine", self.spines)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """MTUs in the file, with their locations."""
        yield from super().mtus()
        if self.uplinks.mtu is not None:
            yield ("fabric", "uplinks", "mtu"), self.uplinks.mtu

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        racks = dict.fromkeys(self.racks(), "a switch of the fabric")
        return racks | dict.fromkeys([*self._leaves(), *self._spines()], "a router of the fabric")

    def _room_misfits(self, nodes: Members) -> Iterator[Misfit]:
        if self.homes == 1:
            yield from super()._room_misfits(nodes)
            return
        if self.homes > self.leaves:
            yield Misfit(
                ("fabric", "homes"),
                f"{self.homes} homes require {self.homes} leaves, found {self.leaves}; lower homes, or add leaves",
            )
        yield from self._range_misfits({cidr: cidr.num_addresses - 1 for cidr in self.subnet}, len(nodes))

    def _further_misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        yield from each(link_misfits(("fabric", "uplinks"), self.uplinks, self._link("", "", self.uplinks)))
        yield from line_misfits(self.underlay(nodes, pod_families))

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        leaves, spines = self._leaves(), self._spines()
        routers, transit = (*leaves, *spines), self._transit()
        links = [self._link(leaf, spine, self.uplinks) for leaf in leaves for spine in spines]
        if self.homes > 1:
            links += (self._node_link(node, leaf) for node, homes in self._homes(nodes).items() for leaf in homes)
            return Underlay({}, routers, self._changed(links), transit, self.subnet, self._families)
        links += (self._link(leaf, rack) for leaf, rack in zip(leaves, self.racks(), strict=True))
        links += self._node_links(nodes)
        return Underlay(self._subnets(nodes), routers, self._changed(links), transit, families=self._families)

    def _homes(self, nodes: Members) -> dict[str, list[str]]:
        """Leaves of each node: neighbouring leaves, such as leaf1 and leaf2, leaf3 and leaf4, ..."""
        leaves = self._leaves()
        first = {node: leaves.index(at) for node, at in self.placement(nodes).items()}
        return {
            node: [leaves[(start + home) % self.leaves] for home in range(self.homes)] for node, start in first.items()
        }


class Wan(_Routed):
    """Sites with a switch and a router each; the routers form a full mesh of WAN links."""

    shape: Literal["wan"] = Field(description="wan: sites with a router each, linked in a full mesh")
    sites: int = Field(default=2, ge=1, le=MAX_SITES, description="number of sites: site1, site2, ...")
    wan: LinkQualities = Field(
        default=_PLAIN,
        description="qualities of the links between sites; `back` is from the higher number to the lower",
        json_schema_extra={"default": {}},
    )

    def racks(self) -> list[str]:
        return numbered("site", self.sites)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """MTUs in the file, with their locations."""
        yield from super().mtus()
        if self.wan.mtu is not None:
            yield ("fabric", "wan", "mtu"), self.wan.mtu

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        switches = dict.fromkeys(self.racks(), "a switch of the fabric")
        return switches | dict.fromkeys(numbered("edge", self.sites), "a router of the fabric")

    def _further_misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        yield from each(link_misfits(("fabric", "wan"), self.wan, self._link("", "", self.wan)))
        yield from line_misfits(self.underlay(nodes, pod_families))

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        edges = numbered("edge", self.sites)
        links = [self._link(*ends, self.wan) for ends in combinations(edges, 2)]
        transit = self._transit() if links else ()
        links += (self._link(edge, site) for edge, site in zip(edges, self.racks(), strict=True))
        links += self._node_links(nodes)
        return Underlay(self._subnets(nodes), tuple(edges), self._changed(links), transit, families=self._families)


def numbered(name: str, number: int) -> list[str]:
    """`rack1`, `rack2`, ..."""
    return [f"{name}{index}" for index in range(1, number + 1)]


def written(path: tuple[str, ...], ranges: tuple[Network, ...]) -> Iterator[tuple[Loc, Network]]:
    """The ranges of a field, with their locations."""
    for index, cidr in enumerate(ranges):
        yield item(path, index, ranges), cidr


def families_of(ranges: Iterable[Network]) -> Families:
    return tuple(dict.fromkeys(cidr.version for cidr in ranges))


def of_families(families: Families, own: tuple[Network, ...], default: Mapping[int, Network]) -> tuple[Network, ...]:
    """The given ranges of these families, or else the default ranges."""
    return tuple(cidr for cidr in own if cidr.version in families) or tuple(default[family] for family in families)


def room_in(cidr: Network) -> int:
    """Number of usable addresses in a subnet: all except the network address and (IPv4) the broadcast address."""
    return max(cidr.num_addresses - (2 if cidr.version == 4 else 1), 0)


def _share_lengths(cidr: Network, shares: int, hosts: int) -> tuple[int, int]:
    """Shortest and longest prefix length to split a range into `shares` subnets with room for `hosts` each."""
    shortest = cidr.prefixlen + (shares - 1).bit_length()
    return shortest, cidr.max_prefixlen - (hosts + (1 if cidr.version == 4 else 0)).bit_length()


def _share_length(cidr: Network, shares: int, hosts: int) -> int | None:
    """Prefix length to split a range: the default if it fits; None if the range is too small."""
    shortest, longest = _share_lengths(cidr, shares, hosts)
    return min(max(USUAL_SUBNET[cidr.version], shortest), longest) if shortest <= longest else None


def _share(cidr: Network, length: int, number: int) -> Network:
    return ipaddress.ip_network((int(cidr.network_address) + (number << (cidr.max_prefixlen - length)), length))


def place_misfits(nodes: Members, racks: list[str]) -> Iterator[Misfit]:
    """Nodes with an unknown `at`."""
    shown = " or ".join(racks) if len(racks) < 5 else f"{racks[0]} to {racks[-1]}"
    for node, at in nodes.items():
        if at is not None and at not in racks:
            yield Misfit(
                ("nodes", node, "at"),
                f"a node must be at {shown}, not at '{at}'",
                valid=tuple(racks),
            )


def _changed_misfits(at: Loc, override: LinkOf, link: Link, underlay: Underlay) -> Iterator[Misfit]:
    """Qualities of an overridden link that do not fit together."""
    yield from link_misfits(at, override, link)
    if override.mtu is not None:
        yield from _size_misfits((*at, "mtu"), link, underlay)


def _end_misfits(at: Loc, override: LinkOf, known: Mapping[str, object]) -> Iterator[Misfit]:
    """Ends of a link that do not exist."""
    for index, end in enumerate(override.ends):
        if end not in known:
            yield Misfit((*at, index), f"unknown node, switch or router '{end}'", valid=tuple(known))


def default_misfits(fabric: "Defaults") -> Iterator[Misfit]:
    """Default qualities of the fabric that do not fit together."""
    return quality_misfits(("fabric",), fabric, planned(("", ""), _PLAIN, MIN_MTU[4], fabric).forth)


def size_misfit(at: Loc, size: int, other: int, ends: Iterable[str]) -> Misfit:
    """A link with a different MTU than another link of the same Ethernet, whose ends are `ends`."""
    return Misfit(
        at,
        f"MTU {size} differs from {other} between {' and '.join(ends)} on the same Ethernet; write the same MTU, as "
        "switches do not report packets that are too large",
    )


def _size_misfits(at: Loc, link: Link, underlay: Underlay) -> Iterator[Misfit]:
    members = next((names for names in underlay.ethernets() if set(names) & set(link.ends)), ())
    near = (other for other in underlay.links if set(other.ends) & set(members) and other.mtu != link.mtu)
    if other := next(near, None):
        yield size_misfit(at, link.mtu, other.mtu, other.ends)


def line_misfits(underlay: Underlay) -> Iterator[Misfit]:
    """Ranges too small for links without a switch, or for nodes with several links."""
    lines = sum(not set(link.ends) & set(underlay.switches) for link in underlay.links)
    known = {*underlay.switches, *underlay.routers}
    links = Counter(end for link in underlay.links for end in link.ends if end not in known)
    several = sum(number > 1 for number in links.values())
    for cidr in underlay.transit:
        if cidr.num_addresses < 2 * lines:
            yield Misfit(
                ("fabric", "transit"),
                f"{cidr} has {cidr.num_addresses} addresses, but {2 * lines} are needed, two for each link without a "
                "switch; write a larger range",
            )
    for cidr in underlay.loopbacks:
        if cidr.num_addresses - 1 < several:
            yield Misfit(
                ("fabric", "loopbacks"),
                f"{cidr} has addresses for {counted(cidr.num_addresses - 1, 'node')}, but "
                f"{counted(several, 'node')} with several links need one; write a larger range",
            )
