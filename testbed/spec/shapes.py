"""Fabrics that are given as a shape: one subnet, several of them, leaves and spines, sites.

Each says what it comes to (`underlay`), which names and ranges it takes, and what is wrong with it (`misfits`).
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from testbed.spec.problems import Loc, Misfit, counted, item
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
"""The switch and the router of a fabric of one subnet; several subnets have that router too."""
MAX_RACKS = 250
MAX_SPINES = 64
MAX_HOMES = 8
MAX_SITES = 40
"""Each is linked with each other one."""
USUAL_SUBNET = {4: 24, 6: 64}
"""Prefix lengths of the subnets of racks and sites, where they fit."""
DEFAULT_TRANSIT: dict[int, Network] = {
    4: ipaddress.ip_network("172.31.0.0/16"),
    6: ipaddress.ip_network("fd00:172:31::/64"),
}

Members = Mapping[str, str | None]
"""The nodes, by name, each with the place that it says it is at, if any."""
Families = tuple[int, ...]
"""Address families, 4 and 6, in the order in which they are written."""
Ranges = Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})]
_PLAIN = LinkQualities.model_construct()
"""Not validated: building the validator here would slow every import."""


class Sized(Spec):
    """What every fabric says."""

    shape: str
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=MAX_MTU, description="largest packet of the fabric, in bytes")

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet that is written, with its place."""
        yield ("fabric", "mtu"), self.mtu


class _Ranged(Spec):
    shape: str
    subnet: Ranges = Field(
        min_length=1,
        description="the range of the nodes' own addresses; or a list with one IPv4 and one IPv6 range",
    )


class _Shape(Defaults, Sized, _Ranged):
    """What shapes share."""

    overrides: Annotated[tuple[LinkOf, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="what single links have instead, by their ends, such as {ends: [node1, fabric], delay: 5ms}",
    )

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet that is written, with its place."""
        yield from super().mtus()
        for number, override in enumerate(self.overrides):
            if override.mtu is not None:
                yield ("fabric", "overrides", number, "mtu"), override.mtu

    def seats(self) -> tuple[str, ...]:
        """Where nodes that do not say where they are are put, one after the other; none if there is no choice."""
        return ()

    def seated(self, nodes: Members) -> Mapping[str, str]:
        """Where each node is, if there is a choice."""
        return {}

    def prefixes(self, nodes: Members) -> tuple[int, ...]:
        """The prefix length of each part's share of each range; none if there are no shares."""
        return ()

    def _changed(self, links: Iterable[Link]) -> tuple[Link, ...]:
        """The links with all overrides."""
        own = {frozenset(override.ends): override for override in self.overrides}
        return tuple(changed(link, override) if (override := own.get(frozenset(link.ends))) else link for link in links)

    def _override_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        links = {frozenset(link.ends): link for link in underlay.links}
        known = tuple(dict.fromkeys(end for link in underlay.links for end in link.ends))
        seen: set[frozenset[str]] = set()
        for number, override in enumerate(self.overrides):
            at: Loc = ("fabric", "overrides", number)
            ends = frozenset(override.ends)
            if unknown := [index for index, end in enumerate(override.ends) if end not in known]:
                message = f"no link of this fabric ends at '{override.ends[unknown[0]]}'"
                yield Misfit((*at, "ends", unknown[0]), message, valid=known)
            elif ends not in links:
                one, other = override.ends
                far = [end for pair in links if one in pair for end in pair if end != one]
                yield Misfit((*at, "ends"), f"{one} is not linked with {other}, but with {', '.join(far)}")
            elif ends in seen:
                yield Misfit((*at, "ends"), "there is another override of this link; write all of it in one")
            else:
                yield from link_misfits(at, override, links[ends])
                if override.mtu is not None:
                    yield from _size_misfits((*at, "mtu"), links[ends], underlay)
            seen.add(ends)

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Every range that is written, with its place."""
        return written(("fabric", "subnet"), self.subnet)

    @property
    def _families(self) -> Families:
        return families_of(self.subnet)

    def _node_link(self, node: str, place: str) -> Link:
        return planned((node, place), _PLAIN, self.mtu, self)

    def _link(self, one: str, other: str, qualities: LinkQualities = _PLAIN) -> Link:
        return planned((one, other), qualities, self.mtu)

    def _range_misfits(self, room: Mapping[Network, int], needed: int, beside: str = "") -> Iterator[Misfit]:
        for index, cidr in enumerate(self.subnet):
            if room[cidr] < needed:
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{cidr} has addresses for {counted(room[cidr], 'node')}{beside}, but there are {needed}; "
                    "write a larger range",
                )


class OneSubnet(_Shape):
    """One subnet that all nodes and the router are on."""

    shape: Literal["one-subnet"] = Field(default="one-subnet", description="one-subnet: a switch and a router")

    def places(self) -> dict[str, str]:
        """Names that are taken, and what by."""
        return {SWITCH: "the fabric's switch", ROUTER: "the fabric's router"}

    def misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed."""
        room = {cidr: max(cidr.num_addresses - (3 if cidr.version == 4 else 2), 0) for cidr in self.subnet}
        yield from self._range_misfits(room, len(nodes), " beside the gateway")
        yield from place_misfits(nodes, [SWITCH])
        yield from default_misfits(self)
        yield from self._override_misfits(self.underlay(nodes, pod_families))

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """What it comes to."""
        links = [self._link(ROUTER, SWITCH), *(self._node_link(node, SWITCH) for node in nodes)]
        return Underlay({SWITCH: self.subnet}, (ROUTER,), self._changed(links), families=self._families)


class _Racks(_Shape):
    """A shape of several parts, each of which has a subnet of its own, with a router on it."""

    subnet_prefix: Annotated[tuple[int, ...], *one_or_many({"type": "integer", "minimum": 0, "maximum": 126})] = Field(
        default=(),
        description="prefix length of each part's share of subnet, or a list, one for each range; if absent 24 (IPv4) "
        "and 64 (IPv6), or what fits the nodes",
    )

    def racks(self) -> list[str]:
        """The names of its parts."""
        raise NotImplementedError

    def seats(self) -> tuple[str, ...]:
        return tuple(self.racks())

    def seated(self, nodes: Members) -> Mapping[str, str]:
        racks, seats = set(self.racks()), self.seats()
        return {
            node: at if at in racks else seats[number % len(seats)] for number, (node, at) in enumerate(nodes.items())
        }

    def _parts(self, nodes: Members) -> dict[str, list[str]]:
        """By rack: the nodes that are there."""
        parts: dict[str, list[str]] = {rack: [] for rack in self.racks()}
        for node, at in self.seated(nodes).items():
            parts[at].append(node)
        return parts

    def misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed."""
        yield from place_misfits(nodes, self.racks())
        room = list(self._room_misfits(nodes))
        yield from room
        if not room:
            yield from default_misfits(self)
            underlay = self.underlay(nodes, pod_families)
            yield from self._further_misfits(underlay)
            yield from self._override_misfits(underlay)

    def _further_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        return iter(())

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """What it comes to."""
        raise NotImplementedError

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
                    f"{cidr} cannot be shared out to {counted(len(parts), 'subnet')} with addresses for the "
                    f"{counted(len(parts[most]), 'node')} of {most} and a router; write a larger range",
                )

    def _prefix_misfits(self, parts: Mapping[str, list[str]], most: str) -> Iterator[Misfit]:
        if len(self.subnet_prefix) != len(self.subnet):
            yield Misfit(
                ("fabric", "subnet_prefix"),
                f"there are {counted(len(self.subnet), 'range')} in subnet, but "
                f"{counted(len(self.subnet_prefix), 'length')} here; write one for each range",
            )
            return
        for index, (cidr, length) in enumerate(zip(self.subnet, self.subnet_prefix, strict=True)):
            shortest, longest = _share_lengths(cidr, len(parts), len(parts[most]) + 1)
            if not shortest <= length <= longest:
                mend = f"write one from {shortest} to {longest}" if shortest <= longest else "write a larger subnet"
                yield Misfit(
                    item(("fabric", "subnet_prefix"), index, self.subnet_prefix),
                    f"{cidr} cannot be shared out to {counted(len(parts), 'subnet')} of /{length} with addresses for "
                    f"the {counted(len(parts[most]), 'node')} of {most} and a router; {mend}",
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
        at = self.seated(nodes)
        return (self._node_link(node, at[node]) for node in nodes)


class Subnets(_Racks):
    """Racks, each a switch with a subnet of its own, joined by one router."""

    shape: Literal["subnets"] = Field(description="subnets: racks with a subnet each, joined by a router")
    subnets: int = Field(default=2, ge=1, le=MAX_RACKS, description="how many racks there are: rack1, rack2, ...")

    def racks(self) -> list[str]:
        return numbered("rack", self.subnets)

    def places(self) -> dict[str, str]:
        """Names that are taken, and what by."""
        return dict.fromkeys(self.racks(), "a switch of the fabric") | {ROUTER: "the fabric's router"}

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """What it comes to."""
        links = [*(self._link(ROUTER, rack) for rack in self.racks()), *self._node_links(nodes)]
        return Underlay(self._subnets(nodes), (ROUTER,), self._changed(links), families=self._families)


class _Routed(_Racks):
    """A shape whose routers are linked with each other."""

    transit: Ranges = Field(
        default=(),
        description="the range of the links between routers, or a list with one range for each family; 172.31.0.0/16 "
        "and fd00:172:31::/64 if absent",
    )

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Every range that is written, with its place."""
        yield from super().ranges()
        yield from written(("fabric", "transit"), self.transit)

    def _transit(self) -> tuple[Network, ...]:
        return of_families(self._families, self.transit, DEFAULT_TRANSIT)


class LeafSpine(_Routed):
    """A router for each rack, linked to each of the spines."""

    shape: Literal["leaf-spine"] = Field(description="leaf-spine: racks with a router each, linked to each spine")
    leaves: int = Field(default=2, ge=1, le=MAX_RACKS, description="how many racks and leaf routers there are")
    spines: int = Field(default=2, ge=1, le=MAX_SPINES, description="how many spine routers there are")
    homes: int = Field(
        default=1,
        ge=1,
        le=MAX_HOMES,
        description="to how many leaves each node is linked; with more than one there are no switches, and a node's "
        "address is none of its links'",
    )
    uplinks: LinkQualities = Field(
        default=_PLAIN,
        description="qualities of the links between leaves and spines; `back` is from spine to leaf",
        json_schema_extra={"default": {}},
    )

    def racks(self) -> list[str]:
        return numbered("rack", self.leaves) if self.homes == 1 else self._leaves()

    def seats(self) -> tuple[str, ...]:
        """With several homes the first leaf of each."""
        racks = self.racks()
        return tuple(dict.fromkeys(racks[number * self.homes % self.leaves] for number in range(self.leaves)))

    def prefixes(self, nodes: Members) -> tuple[int, ...]:
        return super().prefixes(nodes) if self.homes == 1 else ()

    def _leaves(self) -> list[str]:
        return numbered("leaf", self.leaves)

    def _spines(self) -> list[str]:
        return numbered("spine", self.spines)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet that is written, with its place."""
        yield from super().mtus()
        if self.uplinks.mtu is not None:
            yield ("fabric", "uplinks", "mtu"), self.uplinks.mtu

    def places(self) -> dict[str, str]:
        """Names that are taken, and what by."""
        racks = dict.fromkeys(self.racks(), "a switch of the fabric")
        return racks | dict.fromkeys([*self._leaves(), *self._spines()], "a router of the fabric")

    def _room_misfits(self, nodes: Members) -> Iterator[Misfit]:
        if self.homes == 1:
            yield from super()._room_misfits(nodes)
            return
        if self.homes > self.leaves:
            yield Misfit(
                ("fabric", "homes"),
                f"a node cannot be linked to {self.homes} leaves, as there {_are(self.leaves)}; write at most that, or "
                "more leaves",
            )
        yield from self._range_misfits({cidr: cidr.num_addresses - 1 for cidr in self.subnet}, len(nodes))

    def _further_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        yield from link_misfits(("fabric", "uplinks"), self.uplinks, underlay.links[0])
        yield from line_misfits(underlay)

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """What it comes to."""
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
        """The leaves of each node: pairs of neighbours, leaf1 and leaf2, leaf3 and leaf4, ..."""
        leaves = self._leaves()
        first = {node: leaves.index(at) for node, at in self.seated(nodes).items()}
        return {
            node: [leaves[(start + home) % self.leaves] for home in range(self.homes)] for node, start in first.items()
        }


class Wan(_Routed):
    """Sites, each a switch and a router; the routers are linked with each other by long lines."""

    shape: Literal["wan"] = Field(description="wan: sites with a router each, linked to those of all others")
    sites: int = Field(default=2, ge=1, le=MAX_SITES, description="how many sites there are: site1, site2, ...")
    wan: LinkQualities = Field(
        default=_PLAIN,
        description="qualities of the links between sites; `back` is from the higher number to the lower",
        json_schema_extra={"default": {}},
    )

    def racks(self) -> list[str]:
        return numbered("site", self.sites)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet that is written, with its place."""
        yield from super().mtus()
        if self.wan.mtu is not None:
            yield ("fabric", "wan", "mtu"), self.wan.mtu

    def places(self) -> dict[str, str]:
        """Names that are taken, and what by."""
        switches = dict.fromkeys(self.racks(), "a switch of the fabric")
        return switches | dict.fromkeys(numbered("edge", self.sites), "a router of the fabric")

    def _further_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        yield from link_misfits(("fabric", "wan"), self.wan, self._link("", "", self.wan))
        yield from line_misfits(underlay)

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """What it comes to."""
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
    """Each range of a field, with its place."""
    for index, cidr in enumerate(ranges):
        yield item(path, index, ranges), cidr


def families_of(ranges: Iterable[Network]) -> Families:
    return tuple(dict.fromkeys(cidr.version for cidr in ranges))


def of_families(families: Families, own: tuple[Network, ...], default: Mapping[int, Network]) -> tuple[Network, ...]:
    """The ranges of these families that are written, or else those by default."""
    return tuple(cidr for cidr in own if cidr.version in families) or tuple(default[family] for family in families)


def room_in(cidr: Network) -> int:
    """How many may have an address in a subnet: the network's own is none, nor (IPv4) that for broadcast."""
    return max(cidr.num_addresses - (2 if cidr.version == 4 else 1), 0)


def _share_lengths(cidr: Network, shares: int, hosts: int) -> tuple[int, int]:
    """The shortest and the longest prefix of so many shares of a range, each with room for so many."""
    shortest = cidr.prefixlen + (shares - 1).bit_length()
    return shortest, cidr.max_prefixlen - (hosts + (1 if cidr.version == 4 else 0)).bit_length()


def _share_length(cidr: Network, shares: int, hosts: int) -> int | None:
    """The prefix length of so many shares of a range, each with room for so many: the usual one if that fits."""
    shortest, longest = _share_lengths(cidr, shares, hosts)
    return min(max(USUAL_SUBNET[cidr.version], shortest), longest) if shortest <= longest else None


def _share(cidr: Network, length: int, number: int) -> Network:
    return ipaddress.ip_network((int(cidr.network_address) + (number << (cidr.max_prefixlen - length)), length))


def place_misfits(nodes: Members, racks: list[str]) -> Iterator[Misfit]:
    """Nodes that say they are where no node can be."""
    shown = ", ".join(racks) if len(racks) < 5 else f"{racks[0]} to {racks[-1]}"
    for node, at in nodes.items():
        if at is not None and at not in racks:
            yield Misfit(
                ("nodes", node, "at"),
                f"nodes of this fabric are at {shown}, not at '{at}'",
                valid=tuple(racks),
            )


def default_misfits(fabric: "Defaults") -> Iterator[Misfit]:
    """What of the qualities that stand in the fabric itself makes no sense together."""
    return quality_misfits(("fabric",), fabric, planned(("", ""), _PLAIN, MIN_MTU[4], fabric).forth)


def size_misfit(at: Loc, size: int, other: int, ends: Iterable[str]) -> Misfit:
    """A link whose largest packet is another one than that of a link of the same Ethernet, with these ends."""
    return Misfit(
        at,
        f"packets of {size} bytes fit here, but {other} bytes between {' and '.join(ends)} on the same Ethernet; write "
        "the same MTU, as switches cannot tell a sender that a packet is too large",
    )


def _size_misfits(at: Loc, link: Link, underlay: Underlay) -> Iterator[Misfit]:
    members = next((names for names in underlay.ethernets() if set(names) & set(link.ends)), ())
    near = (other for other in underlay.links if set(other.ends) & set(members) and other.mtu != link.mtu)
    if other := next(near, None):
        yield size_misfit(at, link.mtu, other.mtu, other.ends)


def line_misfits(underlay: Underlay) -> Iterator[Misfit]:
    """Ranges that are too small for the links without a switch, and for nodes with several links."""
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
                f"{cidr} has addresses for {counted(cidr.num_addresses - 1, 'node')}, but {several} have several "
                "links; write a larger range",
            )


def _are(number: int) -> str:
    return "is one" if number == 1 else f"are {number}"
