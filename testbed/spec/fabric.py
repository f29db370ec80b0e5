"""The network between the nodes: one subnet, a shape of several, or switches, routers and links by name.

fabric: {subnet: 192.168.56.0/24, mtu: 1500}                                # one switch, one router
fabric: {shape: subnets, subnets: 2, subnet: 192.168.0.0/16}                # racks, joined by one router
fabric: {shape: leaf-spine, leaves: 4, spines: 2, subnet: 192.168.0.0/16}   # racks, and routers
fabric: {shape: wan, sites: 3, subnet: 192.168.0.0/16, wan: {rate: 100Mbit, delay: 20ms}}
fabric:
  switches: {rack1: {subnet: 192.168.1.0/24}, rack2: {subnet: 192.168.2.0/24}}
  routers: [core]
  links:
    - {ends: [node1, rack1]}
    - {ends: [node2, rack2], rate: 1Gbit, delay: 1ms, back: {delay: 2ms}}
    - {ends: [core, rack1]}
    - {ends: [core, rack2]}

Whichever is written, `underlay` says what it comes to: the one form that plans are made from.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from testbed.spec.problems import Loc, Misfit, counted, item
from testbed.spec.types import (
    Delay,
    Name,
    Network,
    NetworkRange,
    Rate,
    Share,
    Size,
    Spec,
    duration_text,
    one_or_many,
    rate_text,
)
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Quality, Underlay

SWITCH = "fabric"
ROUTER = "gateway"
"""The switch and the router of a fabric of one subnet; several subnets have that router too."""
MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that a link may have: RFC 791 wants every host to take 576 bytes, RFC 8200 sets 1280."""
MIN_RATE = 1_000_000
MAX_RATE = 30_000_000_000
MIN_QUEUE = 70_000
"""In bytes: room for one segment of the largest size, without which a link would carry none."""
MAX_DELAY = timedelta(seconds=10)
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
DEFAULT_LOOPBACKS: dict[int, Network] = {
    4: ipaddress.ip_network("172.30.0.0/16"),
    6: ipaddress.ip_network("fd00:172:30::/64"),
}

Members = Mapping[str, str | None]
"""The nodes, by name, each with the place that it says it is at, if any."""
Ranges = Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})]
_HERE: Loc = ("fabric",)


def _link_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a link carries {rate_text(MIN_RATE)} to {rate_text(MAX_RATE)}, not {rate_text(rate)}")
    return rate


def _link_delay(delay: timedelta) -> timedelta:
    if delay > MAX_DELAY:
        raise ValueError(f"a link takes at most {duration_text(MAX_DELAY)}")
    return delay


class Qualities(Spec):
    """What a link does to what it carries, in one direction or in both."""

    rate: Annotated[Rate, AfterValidator(_link_rate)] | None = Field(
        default=None, description="what a link carries in each direction, such as 1Gbit; unlimited if absent"
    )
    queue: Annotated[Size, Field(ge=MIN_QUEUE, le=2**30)] | None = Field(
        default=None,
        description="how many bytes wait for a link that has a rate before packets are dropped; if absent what the "
        "link carries in 50 ms",
    )
    delay: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="how long a packet takes over a link, one way, such as 20ms or 100us"
    )
    jitter: Annotated[Delay, AfterValidator(_link_delay)] | None = Field(
        default=None, description="by how much the delay varies, up and down; packets may overtake each other"
    )
    loss: Share | None = Field(default=None, description="how many packets a link loses, such as 0.1%")
    duplicate: Share | None = Field(default=None, description="how many packets come twice")
    reorder: Share | None = Field(
        default=None, description="how many packets are not delayed, and so overtake those before them"
    )


class LinkQualities(Qualities):
    """Those of a link, which may be others in the direction back."""

    mtu: int | None = Field(
        default=None,
        ge=MIN_MTU[4],
        le=65535,
        description="largest packet of the link, in bytes; the fabric's if absent",
    )
    offload: bool | None = Field(
        default=None,
        description="off: no segments larger than the MTU on this link, as on links that lose, double or reorder",
    )
    back: Qualities | None = Field(
        default=None, description="what is different in the direction from the second end to the first"
    )


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _two(value: object) -> tuple[str, ...]:
    ends = tuple(value) if isinstance(value, list | tuple) else ()
    if len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise ValueError("a link has two ends, each the name of a node, switch or router, such as [node1, rack1]")
    return ends


class _Ends(Spec):
    ends: Annotated[
        tuple[str, ...],
        PlainValidator(_two),
        WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
    ] = Field(description="the two places that it links: nodes, switches, routers")


class Link(LinkQualities, _Ends):
    """A link of a fabric whose parts are named."""


class _Common(Spec):
    """What every fabric says. The qualities are those of the links that nodes hang on."""

    shape: str
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=65535, description="largest packet of the fabric, in bytes")


class _Defaults(Qualities):
    """Of the links that nodes hang on."""

    offload: bool | None = Field(
        default=None, description="off: no segments larger than the MTU on the links that nodes hang on"
    )


class _Ranged(Spec):
    shape: str
    subnet: Ranges = Field(
        min_length=1,
        description="the range of the nodes' own addresses; or a list with one IPv4 and one IPv6 range",
    )
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=65535, description="largest packet of the fabric, in bytes")


class OneSubnet(_Defaults, _Ranged):
    """One subnet that all nodes and the router are on."""

    shape: Literal["one-subnet"] = Field(default="one-subnet", description="one switch and one router; the default")

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Every range that is written, with its place."""
        return _written(("fabric", "subnet"), self.subnet)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet of a link, with its place."""
        yield ("fabric", "mtu"), self.mtu

    def places(self, nodes: Members) -> dict[str, str]:
        """Names that are taken, and what by."""
        return {SWITCH: "the fabric's switch", ROUTER: "the fabric's router"}

    def misfits(self, nodes: Members, families: tuple[int, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed. `families` are those of pods."""
        for index, subnet in enumerate(self.subnet):
            room = max(subnet.num_addresses - (3 if subnet.version == 4 else 2), 0)
            if room < len(nodes):
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{subnet} has addresses for {counted(room, 'node')} beside the gateway, but there are "
                    f"{len(nodes)}; write a larger range",
                )
        yield from _wrong_place(nodes, [SWITCH])
        yield from _common_misfits(self, self.underlay(nodes, families))

    def underlay(self, nodes: Members, families: tuple[int, ...]) -> Underlay:
        links = [_planned(self, (name, SWITCH), LinkQualities(), is_nodes=name != ROUTER) for name in (ROUTER, *nodes)]
        return Underlay({SWITCH: self.subnet}, (ROUTER,), tuple(links), families=_families(self.subnet))


class _Shared(_Defaults, _Ranged):
    """A shape whose parts share a range out."""

    transit: Ranges = Field(
        default=(),
        description="the range of the links between routers, or a list with one range for each family; 172.31.0.0/16 "
        "and fd00:172:31::/64 if absent",
    )

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Every range that is written, with its place."""
        yield from _written(("fabric", "subnet"), self.subnet)
        yield from _written(("fabric", "transit"), self.transit)

    def _transit(self) -> tuple[Network, ...]:
        return _of_families(_families(self.subnet), self.transit, DEFAULT_TRANSIT)

    def _shares(self, dealt: Mapping[str, list[str]], routers: int) -> dict[str, tuple[Network, ...]]:
        """The subnets of each part of the fabric, in which are these nodes and so many routers."""
        hosts = max(map(len, dealt.values())) + routers
        lengths = {cidr: _share_length(cidr, len(dealt), hosts) or cidr.prefixlen for cidr in self.subnet}
        return {
            name: tuple(_share(cidr, length, number) for cidr, length in lengths.items())
            for number, name in enumerate(dealt)
        }

    def _room_misfits(self, dealt: Mapping[str, list[str]], routers: int) -> Iterator[Misfit]:
        most = max(dealt, key=lambda name: len(dealt[name]))
        hosts = len(dealt[most]) + routers
        for index, cidr in enumerate(self.subnet):
            if _share_length(cidr, len(dealt), hosts) is None:
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{cidr} cannot be shared out to {len(dealt)} subnets with addresses for {most}'s "
                    f"{counted(len(dealt[most]), 'node')} and a router each; write a larger range",
                )


class Subnets(_Shared):
    """Racks, each a switch with a subnet of its own, joined by one router."""

    shape: Literal["subnets"] = Field(description="subnets: racks, each with a subnet of its own, joined by one router")
    subnets: int = Field(default=2, ge=1, le=MAX_RACKS, description="how many racks there are: rack1, rack2, ...")

    def _dealt(self, nodes: Members) -> dict[str, list[str]]:
        return _dealt(nodes, [f"rack{number}" for number in range(1, self.subnets + 1)])

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet of a link, with its place."""
        yield ("fabric", "mtu"), self.mtu

    def places(self, nodes: Members) -> dict[str, str]:
        """Names that are taken, and what by."""
        return dict.fromkeys(self._dealt({}), "a switch of the fabric") | {ROUTER: "the fabric's router"}

    def misfits(self, nodes: Members, families: tuple[int, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed. `families` are those of pods."""
        dealt = self._dealt(nodes)
        yield from _wrong_place(nodes, list(dealt))
        room = list(self._room_misfits(dealt, 1))
        yield from room
        if not room:
            yield from _common_misfits(self, self.underlay(nodes, families))

    def underlay(self, nodes: Members, families: tuple[int, ...]) -> Underlay:
        dealt = self._dealt(nodes)
        links = [_planned(self, (ROUTER, rack), LinkQualities()) for rack in dealt]
        links += _node_links(self, nodes, dealt)
        return Underlay(self._shares(dealt, 1), (ROUTER,), tuple(links), families=_families(self.subnet))


class LeafSpine(_Shared):
    """A router for each rack, linked to each of the spines."""

    shape: Literal["leaf-spine"] = Field(
        description="leaf-spine: racks, each with a router that is linked to each of the spines"
    )
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
        default=LinkQualities(), description="qualities of the links between leaves and spines, leaf to spine first"
    )

    def _racks(self) -> list[str]:
        kind = "rack" if self.homes == 1 else "leaf"
        return [f"{kind}{number}" for number in range(1, self.leaves + 1)]

    def _leaves(self) -> list[str]:
        return [f"leaf{number}" for number in range(1, self.leaves + 1)]

    def _spines(self) -> list[str]:
        return [f"spine{number}" for number in range(1, self.spines + 1)]

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet of a link, with its place."""
        yield ("fabric", "mtu"), self.mtu
        if self.uplinks.mtu is not None:
            yield ("fabric", "uplinks", "mtu"), self.uplinks.mtu

    def places(self, nodes: Members) -> dict[str, str]:
        """Names that are taken, and what by."""
        racks = dict.fromkeys(self._racks(), "a switch of the fabric")
        return racks | dict.fromkeys([*self._leaves(), *self._spines()], "a router of the fabric")

    def misfits(self, nodes: Members, families: tuple[int, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed. `families` are those of pods."""
        yield from _wrong_place(nodes, self._racks())
        if self.homes > self.leaves:
            yield Misfit(
                ("fabric", "homes"),
                f"a node cannot be linked to {self.homes} leaves, as there are {self.leaves}; write at most that",
            )
            return
        room = list(
            self._room_misfits(_dealt(nodes, self._racks()), 1) if self.homes == 1 else self._own_misfits(nodes)
        )
        yield from room
        if not room:
            underlay = self.underlay(nodes, families)
            yield from _common_misfits(self, underlay)
            yield from _quality_misfits(("fabric", "uplinks"), self.uplinks, underlay.links[0])

    def _own_misfits(self, nodes: Members) -> Iterator[Misfit]:
        for index, cidr in enumerate(self.subnet):
            room = cidr.num_addresses - 1
            if room < len(nodes):
                yield Misfit(
                    item(("fabric", "subnet"), index, self.subnet),
                    f"{cidr} has addresses for {counted(room, 'node')}, but there are {len(nodes)}; "
                    "write a larger range",
                )

    def underlay(self, nodes: Members, families: tuple[int, ...]) -> Underlay:
        leaves, spines = self._leaves(), self._spines()
        dealt = _dealt(nodes, self._racks())
        links = [_planned(self, (leaf, spine), self.uplinks) for leaf in leaves for spine in spines]
        routers, used = (*leaves, *spines), _families(self.subnet)
        if self.homes == 1:
            links += [_planned(self, (leaf, rack), LinkQualities()) for leaf, rack in zip(leaves, dealt, strict=True)]
            links += _node_links(self, nodes, dealt)
            return Underlay(self._shares(dealt, 1), routers, tuple(links), self._transit(), families=used)
        first = {node: number for number, members in enumerate(dealt.values()) for node in members}
        if not any(at for at in nodes.values()):
            # Pairs that share no leaf with the next, as racks have them: leaves 1 and 2, leaves 3 and 4, ...
            first = {node: number * self.homes for number, node in enumerate(nodes)}
        for node in nodes:
            for home in range(self.homes):
                leaf = leaves[(first[node] + home) % len(leaves)]
                links.append(_planned(self, (node, leaf), LinkQualities(), is_nodes=True))
        return Underlay({}, routers, tuple(links), self._transit(), self.subnet, families=used)


class Wan(_Shared):
    """Sites, each a switch and a router; the routers are linked with each other by long lines."""

    shape: Literal["wan"] = Field(description="wan: sites, each with a router that is linked to those of all others")
    sites: int = Field(default=2, ge=1, le=MAX_SITES, description="how many sites there are: site1, site2, ...")
    wan: LinkQualities = Field(
        default=LinkQualities(), description="qualities of the links between sites, the one with the lower number first"
    )

    def _sites(self) -> list[str]:
        return [f"site{number}" for number in range(1, self.sites + 1)]

    def _edges(self) -> list[str]:
        return [f"edge{number}" for number in range(1, self.sites + 1)]

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet of a link, with its place."""
        yield ("fabric", "mtu"), self.mtu
        if self.wan.mtu is not None:
            yield ("fabric", "wan", "mtu"), self.wan.mtu

    def places(self, nodes: Members) -> dict[str, str]:
        """Names that are taken, and what by."""
        return dict.fromkeys(self._sites(), "a switch of the fabric") | dict.fromkeys(
            self._edges(), "a router of the fabric"
        )

    def misfits(self, nodes: Members, families: tuple[int, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed. `families` are those of pods."""
        dealt = _dealt(nodes, self._sites())
        yield from _wrong_place(nodes, list(dealt))
        room = list(self._room_misfits(dealt, 1))
        yield from room
        if not room:
            underlay = self.underlay(nodes, families)
            yield from _common_misfits(self, underlay)
            yield from _quality_misfits(("fabric", "wan"), self.wan, underlay.links[0])

    def underlay(self, nodes: Members, families: tuple[int, ...]) -> Underlay:
        edges, dealt = self._edges(), _dealt(nodes, self._sites())
        links = [_planned(self, ends, self.wan) for ends in combinations(edges, 2)]
        links += [_planned(self, (edge, site), LinkQualities()) for edge, site in zip(edges, dealt, strict=True)]
        links += _node_links(self, nodes, dealt)
        subnets = self._shares(dealt, 1)
        return Underlay(subnets, tuple(edges), tuple(links), self._transit(), families=_families(self.subnet))


class Switch(Spec):
    """A switch of a fabric whose parts are named."""

    subnet: Ranges = Field(
        default=(),
        description="the subnet of its Ethernet, or a list with one IPv4 and one IPv6 subnet; of switches that are "
        "linked with each other one says it for all",
    )


class Named(_Defaults, _Common):
    """A fabric whose switches, routers and links are written one by one."""

    shape: Literal["named"] = Field(default="named", description="switches, routers and links are written one by one")
    switches: dict[Name, Switch] = Field(default_factory=dict, description="the switches, by name")
    routers: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = Field(
        default=(), description="the names of the routers"
    )
    links: Annotated[tuple[Link, ...], BeforeValidator(_listed)] = Field(
        default=(), description="what is linked with what, and how"
    )
    transit: Ranges = Field(
        default=(),
        description="the range of the links between routers, and between routers and nodes, or a list with one range "
        "for each family; 172.31.0.0/16 and fd00:172:31::/64 if absent",
    )
    loopbacks: Ranges = Field(
        default=(),
        description="the range of the addresses of nodes with several links, or a list with one range for each "
        "family; 172.30.0.0/16 and fd00:172:30::/64 if absent",
    )

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Every range that is written, with its place."""
        for name, switch in self.switches.items():
            yield from _written(("fabric", "switches", name, "subnet"), switch.subnet)
        yield from _written(("fabric", "transit"), self.transit)
        yield from _written(("fabric", "loopbacks"), self.loopbacks)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """Every largest packet of a link, with its place."""
        yield ("fabric", "mtu"), self.mtu
        for number, link in enumerate(self.links):
            if link.mtu is not None:
                yield ("fabric", "links", number, "mtu"), link.mtu

    def places(self, nodes: Members) -> dict[str, str]:
        """Names that are taken, and what by."""
        return dict.fromkeys(self.switches, "a switch of the fabric") | dict.fromkeys(
            self.routers, "a router of the fabric"
        )

    def misfits(self, nodes: Members, families: tuple[int, ...]) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed. `families` are those of pods.

        Each check counts on those before it.
        """
        for node, at in nodes.items():
            if at is not None:
                yield Misfit(
                    ("nodes", node, "at"), "the fabric's links say where a node is; leave this out", at_key=True
                )
        for check in (self._router_misfits, self._end_misfits, self._ethernet_misfits, self._unreachable):
            found = list(check(nodes))
            yield from found
            if found:
                return
        underlay = self.underlay(nodes, families)
        yield from self._family_misfits(underlay)
        yield from self._address_misfits(nodes, underlay)
        yield from _common_misfits(self, underlay)
        for number, (link, planned) in enumerate(zip(self.links, underlay.links, strict=True)):
            yield from _quality_misfits(("fabric", "links", number), link, planned)

    def _router_misfits(self, nodes: Members) -> Iterator[Misfit]:
        for number, name in enumerate(self.routers):
            if name in self.switches or name in self.routers[:number]:
                kind = "switch" if name in self.switches else "router"
                yield Misfit(
                    ("fabric", "routers", number), f"the name '{name}' is taken by a {kind}; each needs one of its own"
                )

    def _end_misfits(self, nodes: Members) -> Iterator[Misfit]:
        known = (*self.switches, *self.routers, *nodes)
        linked: set[str] = set()
        for number, link in enumerate(self.links):
            at: Loc = ("fabric", "links", number, "ends")
            for index, end in enumerate(link.ends):
                if end not in known:
                    yield Misfit((*at, index), f"there is no node, switch or router '{end}'", valid=known)
            one, other = link.ends
            if one == other:
                yield Misfit(at, f"both ends of this link are '{one}'; name two places")
            elif one in nodes and other in nodes:
                yield Misfit(at, f"{one} and {other} are both nodes; link each with a switch or a router")
            linked.update(link.ends)
        for node in nodes:
            if node not in linked:
                yield Misfit(
                    ("nodes", node),
                    f"the node {node} hangs on no link of the fabric; add one with its name",
                    at_key=True,
                )

    def _ethernet_misfits(self, nodes: Members) -> Iterator[Misfit]:
        """What no Ethernet can be: without a subnet, with two, with a loop, or with packets of two sizes."""
        underlay = self._bare(nodes)
        ethernet = {name: members for members in underlay.ethernets() for name in members}
        joined: dict[str, set[str]] = {name: {name} for name in self.switches}
        seen: dict[tuple[str, tuple[str, ...]], int] = {}
        sizes: dict[tuple[str, ...], tuple[int, str]] = {}
        for number, (link, planned) in enumerate(zip(self.links, underlay.links, strict=True)):
            at: Loc = ("fabric", "links", number)
            one, other = link.ends
            if one in joined and other in joined:
                if other in joined[one]:
                    yield Misfit(
                        (*at, "ends"),
                        f"this link closes a loop of switches ({one} and {other} are joined already), in which "
                        "frames would go round for ever, as no spanning tree runs; take out a link of the loop",
                    )
                    continue
                both = joined[one] | joined[other]
                joined.update(dict.fromkeys(both, both))
            for end, far in ((one, other), (other, one)):
                if far in ethernet and end not in ethernet:
                    if (end, ethernet[far]) in seen:
                        yield Misfit(
                            (*at, "ends"),
                            f"{end} is on the Ethernet of {' and '.join(ethernet[far])} already, by another link; "
                            "a second one there would need bonding, which there is not",
                        )
                    seen[end, ethernet[far]] = number
            members = ethernet.get(one) or ethernet.get(other)
            if members:
                size, first = sizes.setdefault(members, (planned.mtu, " and ".join(link.ends)))
                if size != planned.mtu:
                    yield Misfit(
                        (*at, "mtu"),
                        f"this link carries packets of {planned.mtu} bytes, but the one of {first} on the same "
                        f"Ethernet {size}; an Ethernet has one MTU, as nobody on it could tell a sender to send less",
                    )
        for members in underlay.ethernets():
            yield from self._subnet_misfits(members)

    def _subnet_misfits(self, members: tuple[str, ...]) -> Iterator[Misfit]:
        first: dict[int, str] = {}
        for name in members:
            own = self.switches[name].subnet
            for index, cidr in enumerate(own):
                if (earlier := first.setdefault(cidr.version, name)) != name:
                    yield Misfit(
                        item(("fabric", "switches", name, "subnet"), index, own),
                        f"{name} and {earlier} are one Ethernet, which has one IPv{cidr.version} subnet; "
                        f"leave this out, or put a router between them",
                    )
        if not first:
            yield Misfit(
                ("fabric", "switches", members[0]),
                f"the Ethernet of {' and '.join(members)} has no subnet; write `subnet:` with a range for it",
                at_key=True,
            )

    def _unreachable(self, nodes: Members) -> Iterator[Misfit]:
        """Only routers and switches lead on: a node forwards nothing for others."""
        near: dict[str, list[str]] = {name: [] for name in (*self.switches, *self.routers, *nodes)}
        for link in self.links:
            for one, other in (link.ends, link.ends[::-1]):
                near[one].append(other)
        start = next(iter(nodes))
        reached, frontier = {start}, [start]
        while frontier:
            here = frontier.pop()
            if here not in nodes or here == start:
                fresh = [name for name in near[here] if name not in reached]
                reached.update(fresh)
                frontier += fresh
        if lost := [name for name in near if name not in reached]:
            yield Misfit(
                ("fabric",),
                f"{' and '.join(lost)} cannot be reached from {start}; add links, by way of routers or switches "
                "(nodes forward nothing for others)",
                at_key=True,
            )

    def _family_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        for members in underlay.ethernets():
            own = {cidr.version for name in members for cidr in self.switches[name].subnet}
            for family in underlay.families:
                if family not in own:
                    yield Misfit(
                        ("fabric", "switches", members[0], "subnet"),
                        f"the Ethernet of {' and '.join(members)} has no IPv{family} subnet, but other parts of the "
                        "fabric have; write one too",
                    )
        for key, written in (("transit", self.transit), ("loopbacks", self.loopbacks)):
            for family in underlay.families:
                if written and family not in {cidr.version for cidr in written}:
                    yield Misfit(("fabric", key), f"there is no IPv{family} range here, but the fabric has IPv{family}")

    def _address_misfits(self, nodes: Members, underlay: Underlay) -> Iterator[Misfit]:
        for members in underlay.ethernets():
            ends = [end for link in self.links for end in link.ends if set(link.ends) & set(members)]
            hosts = len([end for end in ends if end not in members])
            for name in members:
                own = self.switches[name].subnet
                for index, cidr in enumerate(own):
                    if _room(cidr) < hosts:
                        yield Misfit(
                            item(("fabric", "switches", name, "subnet"), index, own),
                            f"{cidr} has {counted(_room(cidr), 'address')}, but {hosts} nodes and routers are "
                            "on it; write a larger range".replace("addresss", "addresses"),
                        )

    def _bare(self, nodes: Members) -> Underlay:
        links = (
            _planned(self, (link.ends[0], link.ends[1]), link, is_nodes=any(end in nodes for end in link.ends))
            for link in self.links
        )
        return Underlay({name: switch.subnet for name, switch in self.switches.items()}, self.routers, tuple(links))

    def underlay(self, nodes: Members, families: tuple[int, ...]) -> Underlay:
        bare = self._bare(nodes)
        written = [cidr for switch in self.switches.values() for cidr in switch.subnet]
        used = _families(written or self.transit) or families
        return Underlay(
            bare.switches,
            bare.routers,
            bare.links,
            _of_families(used, self.transit, DEFAULT_TRANSIT),
            _of_families(used, self.loopbacks, DEFAULT_LOOPBACKS),
            used,
        )


def shape(value: object) -> str:
    """Which of the models a fabric is written for: it says so, or its keys tell."""
    get: Callable[[str], Any] = value.get if isinstance(value, dict) else lambda key: getattr(value, key, None)
    if said := get("shape"):
        return str(said)
    for key, meant in _TELLING.items():
        if get(key) is not None:
            return meant
    if isinstance(get("subnets"), int):  # Otherwise it is `subnet`, misspelt.
        return "subnets"
    return "one-subnet"


_TELLING = {
    "switches": "named",
    "routers": "named",
    "links": "named",
    "leaves": "leaf-spine",
    "spines": "leaf-spine",
    "sites": "wan",
    "wan": "wan",
}
"""Keys by which a fabric shows its shape that does not say it."""

AnyFabric = OneSubnet | Subnets | LeafSpine | Wan | Named
Fabric = Annotated[
    Annotated[OneSubnet, Tag("one-subnet")]
    | Annotated[Subnets, Tag("subnets")]
    | Annotated[LeafSpine, Tag("leaf-spine")]
    | Annotated[Wan, Tag("wan")]
    | Annotated[Named, Tag("named")],
    Discriminator(shape),
]


def _written(path: tuple[str, ...], ranges: tuple[Network, ...]) -> Iterator[tuple[Loc, Network]]:
    for index, cidr in enumerate(ranges):
        yield item(path, index, ranges), cidr


def _families(ranges: Iterable[Network]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(cidr.version for cidr in ranges))


def _of_families(
    families: tuple[int, ...], written: tuple[Network, ...], default: Mapping[int, Network]
) -> tuple[Network, ...]:
    return tuple(cidr for cidr in written if cidr.version in families) or tuple(default[family] for family in families)


def _dealt(nodes: Members, racks: list[str]) -> dict[str, list[str]]:
    """The nodes of each rack: where they say they are, and else the first in the first, the second in the second..."""
    dealt: dict[str, list[str]] = {rack: [] for rack in racks}
    for number, (node, at) in enumerate(nodes.items()):
        dealt[at if at in dealt else racks[number % len(racks)]].append(node)
    return dealt


def _node_links(fabric: AnyFabric, nodes: Members, dealt: Mapping[str, list[str]]) -> list[PlannedLink]:
    racks = {node: rack for rack, members in dealt.items() for node in members}
    return [_planned(fabric, (node, racks[node]), LinkQualities(), is_nodes=True) for node in nodes]


def _planned(fabric: AnyFabric, ends: tuple[str, str], link: LinkQualities, *, is_nodes: bool = False) -> PlannedLink:
    """A link with all that it has of its own, and of the fabric's defaults if a node hangs on it."""
    usual = _own(fabric) if is_nodes else {}
    forth = usual | _own(link)
    back = forth | (_own(link.back) if link.back else {})
    offload = link.offload if link.offload is not None else fabric.offload if is_nodes else None
    return PlannedLink(ends, link.mtu or fabric.mtu, _quality(forth), _quality(back), offload is not False)


def _own(qualities: Qualities) -> dict[str, Any]:
    """What is written there."""
    return {key: value for key in Qualities.model_fields if (value := getattr(qualities, key)) is not None}


def _quality(found: Mapping[str, Any]) -> Quality:
    none = timedelta(0)
    return Quality(
        rate=found.get("rate"),
        queue=found.get("queue"),
        delay_us=found.get("delay", none) // timedelta(microseconds=1),
        jitter_us=found.get("jitter", none) // timedelta(microseconds=1),
        loss=found.get("loss", 0.0),
        duplicate=found.get("duplicate", 0.0),
        reorder=found.get("reorder", 0.0),
    )


def _share_length(cidr: Network, shares: int, hosts: int) -> int | None:
    """The prefix length of so many shares of a range, each with room for so many: the usual one if that fits."""
    shortest = cidr.prefixlen + (shares - 1).bit_length()
    longest = cidr.max_prefixlen - (hosts + (1 if cidr.version == 4 else 0)).bit_length()
    return min(max(USUAL_SUBNET[cidr.version], shortest), longest) if shortest <= longest else None


def _share(cidr: Network, length: int, number: int) -> Network:
    return ipaddress.ip_network((int(cidr.network_address) + (number << (cidr.max_prefixlen - length)), length))


def _room(cidr: Network) -> int:
    """How many may have an address in a subnet: the network's own is none, nor (IPv4) that for broadcast."""
    return max(cidr.num_addresses - (2 if cidr.version == 4 else 1), 0)


def _wrong_place(nodes: Members, racks: list[str]) -> Iterator[Misfit]:
    for node, at in nodes.items():
        if at is not None and at not in racks:
            shown = ", ".join(racks) if len(racks) < 5 else f"{racks[0]} to {racks[-1]}"
            yield Misfit(
                ("nodes", node, "at"), f"there is no place '{at}' for nodes in this fabric; {shown}", valid=tuple(racks)
            )


def _common_misfits(fabric: AnyFabric, underlay: Underlay) -> Iterator[Misfit]:
    """What goes for every fabric."""
    lines = sum(not set(link.ends) & set(underlay.switches) for link in underlay.links)
    several = _several(underlay)
    for key, cidrs, needed in (
        ("transit", underlay.transit, 2 * lines),
        ("loopbacks", underlay.loopbacks, several + 1),
    ):
        for cidr in cidrs:
            if cidr.num_addresses < needed:
                yield Misfit(
                    ("fabric", key),
                    f"{cidr} has {cidr.num_addresses} addresses, but {needed} are needed; write a larger range",
                )
    yield from _setting_misfits(_HERE, fabric, _planned(fabric, ("", ""), LinkQualities(), is_nodes=True).forth)


def _several(underlay: Underlay) -> int:
    """How many nodes have several links."""
    known = {*underlay.switches, *underlay.routers}
    links = Counter(end for link in underlay.links for end in link.ends if end not in known)
    return sum(number > 1 for number in links.values())


def _quality_misfits(at: Loc, link: LinkQualities, planned: PlannedLink) -> Iterator[Misfit]:
    """What of a link's qualities makes no sense together."""
    yield from _setting_misfits(at, link, planned.forth)
    if link.back:
        yield from _setting_misfits((*at, "back"), link.back, planned.back)


def _setting_misfits(at: Loc, written: Qualities, quality: Quality) -> Iterator[Misfit]:
    """Told where it is written; `quality` is what it comes to with the defaults."""
    if written.reorder and not quality.delay_us:
        yield Misfit(
            (*at, "reorder"), "only packets that are delayed can be overtaken; give the link a delay, such as 1ms"
        )
    if written.jitter is not None and quality.jitter_us > quality.delay_us:
        yield Misfit(
            (*at, "jitter"),
            f"the delay cannot vary by {quality.jitter_us} us around {quality.delay_us} us; give the link a delay "
            "of at least that",
        )
