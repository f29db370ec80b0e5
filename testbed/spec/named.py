"""A fabric with switches, routers and links by name, and its checks."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from testbed.spec.problems import Loc, Misfit, each, item
from testbed.spec.qualities import MIN_MTU, Defaults, Link, link_misfits, planned
from testbed.spec.shapes import (
    DEFAULT_TRANSIT,
    Families,
    Members,
    Ranges,
    Sized,
    default_misfits,
    families_of,
    line_misfits,
    of_families,
    room_in,
    size_misfit,
    written,
)
from testbed.spec.types import Name, Network, Spec, listed
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Underlay

DEFAULT_LOOPBACKS: dict[int, Network] = {
    4: ipaddress.ip_network("172.30.0.0/16"),
    6: ipaddress.ip_network("fd00:172:30::/64"),
}


class Switch(Spec):
    """A switch of a fabric with named parts."""

    subnet: Ranges = Field(
        default=(),
        description="the subnet of its Ethernet, or a list with one IPv4 and one IPv6 subnet; given once for switches "
        "that are linked with each other",
    )


class Named(Defaults, Sized):
    """Switches, routers and links by name. All other link ends are nodes."""

    shape: Literal["named"] = Field(default="named", description="named: switches, routers and links by name")
    switches: dict[Name, Switch] = Field(default_factory=dict, description="switches, by name")
    routers: Annotated[tuple[Name, ...], BeforeValidator(listed)] = Field(default=(), description="names of routers")
    links: Annotated[tuple[Link, ...], BeforeValidator(listed)] = Field(
        default=(), description="links, each with its ends and qualities"
    )
    transit: Ranges = Field(
        default=(),
        description="range for the links between routers, and between routers and nodes, or a list with one range per "
        "family; 172.31.0.0/16 and fd00:172:31::/64 if absent",
    )
    loopbacks: Ranges = Field(
        default=(),
        description="range for the addresses of nodes with several links, or a list with one range per family; "
        "172.30.0.0/16 and fd00:172:30::/64 if absent",
    )

    def ranges(self) -> Iterator[tuple[Loc, Network]]:
        """Ranges in the file, with their locations."""
        for name, switch in self.switches.items():
            yield from written(("fabric", "switches", name, "subnet"), switch.subnet)
        yield from written(("fabric", "transit"), self.transit)
        yield from written(("fabric", "loopbacks"), self.loopbacks)

    def mtus(self) -> Iterator[tuple[Loc, int]]:
        """MTUs in the file, with their locations."""
        yield from super().mtus()
        for number, link in enumerate(self.links):
            if link.mtu is not None:
                yield ("fabric", "links", number, "mtu"), link.mtu

    def places(self) -> dict[str, str]:
        """Names in use, and what uses them."""
        switches = dict.fromkeys(self.switches, "a switch of the fabric")
        return switches | dict.fromkeys(self.routers, "a router of the fabric")

    def underlay(self, nodes: Members, pod_families: Families) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        links = tuple(self._planned(link, nodes, self.mtu) for link in self.links)
        subnets = {name: switch.subnet for name, switch in self.switches.items()}
        families = families_of(cidr for own in subnets.values() for cidr in own)
        families = families or families_of(self.transit) or pod_families
        has_lines = any(not set(link.ends) & set(subnets) for link in links)
        has_several = len(nodes) < sum(bool(set(link.ends) & set(nodes)) for link in links)
        return Underlay(
            subnets,
            self.routers,
            links,
            of_families(families, self.transit, DEFAULT_TRANSIT) if has_lines else (),
            of_families(families, self.loopbacks, DEFAULT_LOOPBACKS) if has_several else (),
            families,
        )

    def misfits(self, nodes: Members, pod_families: Families) -> Iterator[Misfit]:
        """Values that do not fit together. Each check relies on the ones before it."""
        for node, at in nodes.items():
            if at is not None:
                yield Misfit(
                    ("nodes", node, "at"), "the fabric's links define where nodes are; remove this key", at_key=True
                )
        names = [*each(self._name_misfits(nodes), self._end_misfits(nodes))]
        yield from each(names, default_misfits(self))
        yield from each(*(self._quality_misfits(number, nodes) for number in range(len(self.links))))
        yield from each(self._built_misfits(nodes, pod_families, not names))

    def _planned(self, link: Link, nodes: Members, mtu: int) -> PlannedLink:
        """The link; one of a node has the fabric's qualities where it has none of its own."""
        return planned((link.ends[0], link.ends[1]), link, mtu, self if set(link.ends) & set(nodes) else Defaults())

    def _quality_misfits(self, number: int, nodes: Members) -> Iterator[Misfit]:
        link = self.links[number]
        yield from link_misfits(("fabric", "links", number), link, self._planned(link, nodes, MIN_MTU[4]))

    def _built_misfits(self, nodes: Members, pod_families: Families, has_ends: bool) -> Iterator[Misfit]:
        """Misfits of the links and Ethernets; `has_ends` if all names are known."""
        underlay = self.underlay(nodes, pod_families)
        ethernets = [*self._loop_misfits(), *self._port_misfits(underlay), *self._subnet_misfits(underlay)]
        yield from ethernets
        if has_ends:
            yield from self._unreachable(nodes)
        if has_ends and not ethernets:
            yield from self._family_misfits(underlay)
            yield from self._room_misfits(underlay)
            yield from line_misfits(underlay)

    def _name_misfits(self, nodes: Members) -> Iterator[Misfit]:
        for number, name in enumerate(self.routers):
            if name in self.switches or name in self.routers[:number]:
                kind = "switch" if name in self.switches else "router"
                yield Misfit(
                    ("fabric", "routers", number), f"the name '{name}' is already used by a {kind}; choose another"
                )

    def _end_misfits(self, nodes: Members) -> Iterator[Misfit]:
        known = tuple(dict.fromkeys((*self.switches, *self.routers, *nodes)))
        for number, link in enumerate(self.links):
            at: Loc = ("fabric", "links", number, "ends")
            one, other = link.ends
            for index, end in enumerate(link.ends):
                if end not in known:
                    yield Misfit((*at, index), f"unknown node, switch or router '{end}'", valid=known)
            if one == other:
                yield Misfit(at, f"both ends are '{one}'; write two different places")
            elif one in nodes and other in nodes:
                yield Misfit(at, f"{one} and {other} are both nodes; link each to a switch or router")
        linked = {end for link in self.links for end in link.ends}
        for node in nodes:
            if node not in linked:
                yield Misfit(("nodes", node), f"{node} has no link in the fabric; add one", at_key=True)

    def _loop_misfits(self) -> Iterator[Misfit]:
        """Links that close a loop of switches."""
        joined: dict[str, set[str]] = {name: {name} for name in self.switches}
        for number, link in enumerate(self.links):
            one, other = link.ends
            if one in joined and other in joined:
                if other in joined[one]:
                    yield Misfit(
                        ("fabric", "links", number, "ends"),
                        f"{one} and {other} are already connected; this link closes a loop, and no spanning tree runs; "
                        "remove a link, or put a router between them",
                    )
                both = joined[one] | joined[other]
                joined.update(dict.fromkeys(both, both))

    def _port_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        """Second links of a place to an Ethernet, and links with a different MTU than their Ethernet."""
        ethernet = {name: members for members in underlay.ethernets() for name in members}
        on_it: set[tuple[str, tuple[str, ...]]] = set()
        sizes: dict[tuple[str, ...], tuple[int, tuple[str, str]]] = {}
        for number, link in enumerate(underlay.links):
            at: Loc = ("fabric", "links", number)
            switches = [end for end in link.ends if end in ethernet]
            if not switches:
                continue
            members = ethernet[switches[0]]
            for end in set(link.ends) - set(switches):
                if (end, members) in on_it:
                    yield Misfit(
                        (*at, "ends"),
                        f"{end} already has a link to the Ethernet of {' and '.join(members)}, and bonding is not "
                        "supported; remove one, or link it to two routers",
                    )
                on_it.add((end, members))
            size, first = sizes.setdefault(members, (link.mtu, link.ends))
            if size != link.mtu:
                yield size_misfit((*at, "mtu"), link.mtu, size, first)

    def _subnet_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        """Ethernets without a subnet, or with two of the same family."""
        for members in underlay.ethernets():
            first: dict[int, str] = {}
            for name in members:
                own = self.switches[name].subnet
                for index, cidr in enumerate(own):
                    if (earlier := first.setdefault(cidr.version, name)) != name:
                        yield Misfit(
                            item(("fabric", "switches", name, "subnet"), index, own),
                            f"{name} and {earlier} form one Ethernet, which already has an IPv{cidr.version} subnet; "
                            "remove this one, or put a router between them",
                        )
            if not first:
                yield Misfit(
                    ("fabric", "switches", members[0]),
                    f"the Ethernet of {' and '.join(members)} has no subnet; add `subnet:` with its range",
                    at_key=True,
                )

    def _unreachable(self, nodes: Members) -> Iterator[Misfit]:
        """Places without a path to the others; nodes do not forward."""
        near: dict[str, list[str]] = {name: [] for name in (*nodes, *self.switches, *self.routers)}
        for link in self.links:
            for one, other in (link.ends, link.ends[::-1]):
                near[one].append(other)
        start = next(name for name in near[next(iter(nodes))] if name not in nodes)
        reached, frontier = {start}, [start]
        while frontier:
            fresh = [name for name in near[frontier.pop()] if name not in reached]
            reached.update(fresh)
            frontier += [name for name in fresh if name not in nodes]
        if lost := [name for name in near if name not in reached]:
            yield Misfit(
                ("fabric",),
                f"no path from {start} to {' and '.join(lost)}; add links between switches and routers (nodes do not "
                "forward)",
                at_key=True,
            )

    def _family_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        for members in underlay.ethernets():
            own = {cidr.version for name in members for cidr in self.switches[name].subnet}
            for family in underlay.families:
                if family not in own:
                    yield Misfit(
                        ("fabric", "switches", members[0]),
                        f"the Ethernet of {' and '.join(members)} has no IPv{family} subnet, but others do; add one",
                        at_key=True,
                    )
        for key, own_ranges in (("transit", self.transit), ("loopbacks", self.loopbacks)):
            for family in underlay.families:
                if own_ranges and family not in families_of(own_ranges):
                    yield Misfit(("fabric", key), f"IPv{family} range missing, as the fabric uses IPv{family}; add one")

    def _room_misfits(self, underlay: Underlay) -> Iterator[Misfit]:
        for members in underlay.ethernets():
            ends = [link.ends for link in self.links if set(link.ends) & set(members)]
            hosts = sum(end not in members for pair in ends for end in pair)
            for name in members:
                own = self.switches[name].subnet
                for index, cidr in enumerate(own):
                    if room_in(cidr) < hosts:
                        yield Misfit(
                            item(("fabric", "switches", name, "subnet"), index, own),
                            f"{cidr} has {room_in(cidr)} addresses for nodes and routers, but {hosts} are needed; "
                            "write a larger range",
                        )
