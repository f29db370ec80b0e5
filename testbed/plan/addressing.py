"""Address allocation: node CIDRs as in Kubernetes, and addresses of pods, nodes and routers.

In a new lab node i (in the topology's order) gets the i-th share of each pod range, like from kube-controller-manager's
range allocator in a new cluster. The first address of a share is for the node's bridge, the following ones are for
pods. On an Ethernet of the fabric the i-th node gets the i-th address, and routers get the last ones. A node with
several links has an address on each, and a node address on its loopback device.

When a running lab is planned again, existing places keep their addresses (`testbed.plan.allocation`).
"""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from testbed.plan.allocation import Allocator, Room
from testbed.plan.routing import Routing
from testbed.plan.segments import UPLINK, PluggedLink, Port, Segment, at, of_family, plugged, segments
from testbed.spec.topology import Pod, Topology
from testbed.spec.types import Address, Interface, Network
from testbed.spec.underlay import Underlay

__all__ = ["Layout", "NodePlace", "PodPlace", "RouterPlace", "at", "layout", "of_family", "share"]

FIRST_POD = 2
"""Offset of the first pod's address in the share of its node; the first address is the bridge's."""
MAX_NODE_NUMBERS = 4095
"""Weave has 12 bits for a peer's number."""
MAX_POD_NUMBERS = 65535
"""Maximum for a node: Cilium has 16 bits for an endpoint's number."""
_RECREATE = "recreate the lab"
_WITHOUT_PODS = (
    "families",
    "outer_families",
    "fabric_cidrs",
    "routing",
    "is_one_subnet",
    "_linked_switches",
    "fabric_mtu",
)
"""Cached properties of a layout that do not depend on pods."""


@dataclass(frozen=True)
class PodPlace:
    """A pod with its addresses, one per family, with the prefix length of the node's share."""

    pod: Pod
    number: int
    """Unique among the pods of its node, from 1; recycled when all numbers of the node have been used."""
    addresses: tuple[Interface, ...]


@dataclass(frozen=True)
class NodePlace:
    """A node with its addresses on the fabric, its shares of the pod ranges, and its pods."""

    name: str
    number: int
    """Unique among the nodes, from 0; the index of its share."""
    serial: int
    """Unique among nodes and routers, from 0."""
    addresses: tuple[Interface, ...]
    """The node addresses: those of its only port, or of its loopback device if it has several ports."""
    pod_cidrs: tuple[Network, ...]
    """One per family."""
    pods: tuple[PodPlace, ...]
    ports: tuple[Port, ...]
    further_cidrs: tuple[Network, ...] = ()
    """More ranges of its pods, if the design allocates several; each has one per family."""

    @property
    def ranges(self) -> tuple[Network, ...]:
        """All ranges of its pods."""
        return (*self.pod_cidrs, *self.further_cidrs)

    def ranges_of(self, family: int) -> tuple[Network, ...]:
        """The ranges of its pods in the family, 4 or 6."""
        return tuple(cidr for cidr in self.ranges if cidr.version == family)

    @property
    def is_on_loopback(self) -> bool:
        """Whether its node address is on the loopback device."""
        return len(self.ports) > 1

    def address(self, family: int) -> Address:
        """Its address on the fabric in the family, 4 or 6."""
        return of_family(self.addresses, family)


@dataclass(frozen=True)
class RouterPlace:
    """A router of the fabric."""

    name: str
    number: int
    """Unique among routers, from 0."""
    serial: int
    """Unique among nodes and routers, from 0."""
    ports: tuple[Port, ...]
    known_by: Port
    """The port with the router's main addresses; it faces nodes if possible."""

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """Its main addresses."""
        return self.known_by.addresses


@dataclass(frozen=True)
class Layout:
    """A topology with all addresses allocated."""

    topology: Topology
    underlay: Underlay
    nodes: tuple[NodePlace, ...]
    routers: tuple[RouterPlace, ...]
    segments: tuple[Segment, ...]
    links: tuple[PluggedLink, ...]

    def with_pods(self, topology: Topology, nodes: tuple[NodePlace, ...]) -> "Layout":
        """The layout with the nodes and pods of a topology that differs only in pods."""
        made = replace(self, topology=topology, nodes=nodes)
        vars(made).update((name, vars(self)[name]) for name in _WITHOUT_PODS if name in vars(self))
        return made

    def without_pods(self) -> "Layout":
        """The layout without pods, for code that must not depend on them."""
        return self.with_pods(self.topology, tuple(replace(node, pods=()) for node in self.nodes))

    @property
    def pod_cidrs(self) -> tuple[Network, ...]:
        return self.topology.cluster.pod_cidr

    @cached_property
    def fabric_cidrs(self) -> tuple[Network, ...]:
        """The ranges of the nodes' addresses."""
        used = sorted({port.segment for node in self.nodes for port in node.ports})
        subnets = dict.fromkeys(chain.from_iterable(self.segments[number].subnets for number in used))
        own = self.underlay.loopbacks if any(node.is_on_loopback for node in self.nodes) else ()
        return (*subnets, *own)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """All address families in use."""
        return tuple(sorted({cidr.version for cidr in self.pod_cidrs} | set(self.fabric_families)))

    @property
    def fabric_families(self) -> tuple[int, ...]:
        return self.underlay.families

    @cached_property
    def outer_families(self) -> tuple[int, ...]:
        """The families of the outer headers of tunnels, for all pods."""
        return tuple(sorted({self.outer_family(cidr.version) for cidr in self.pod_cidrs}))

    def outer_family(self, pod_family: int) -> int:
        """The family of a tunnel's outer header: that of the inner packet if the fabric has it."""
        families = self.fabric_families
        return pod_family if pod_family in families else families[0]

    @cached_property
    def places(self) -> dict[str, NodePlace | RouterPlace]:
        """Nodes and routers by name."""
        nodes: dict[str, NodePlace | RouterPlace] = {node.name: node for node in self.nodes}
        return nodes | {router.name: router for router in self.routers}

    @cached_property
    def routing(self) -> Routing:
        return Routing(self.segments, [router.name for router in self.routers])

    @property
    def gateway(self) -> tuple[Interface, ...]:
        """The addresses of the first router on the nodes' common Ethernet; empty if either is missing."""
        if not self.is_one_subnet:
            return ()
        steps = self.routing.first_steps(self.nodes[0].ports)
        return steps[0].to.addresses if steps else ()

    @cached_property
    def is_one_subnet(self) -> bool:
        """Whether all nodes are on the same Ethernet."""
        return all(self.are_neighbours(self.nodes[0], node) for node in self.nodes)

    def are_neighbours(self, one: NodePlace, other: NodePlace) -> bool:
        """Whether both node addresses are on the same Ethernet."""
        if one.is_on_loopback or other.is_on_loopback:
            return False
        return one.ports[0].segment == other.ports[0].segment

    def subnet_of(self, node: NodePlace) -> tuple[Network, ...]:
        """The subnets of the node's addresses, one per family; for the loopback device the addresses themselves."""
        if node.is_on_loopback:
            return tuple(address.network for address in node.addresses)
        return self.segments[node.ports[0].segment].subnets

    def switches_between(self, one: Port, other: Port) -> tuple[str, ...]:
        """The switches between two ports of an Ethernet, in order; empty for a direct link."""
        if not self.segments[one.segment].switches:
            return ()
        return self._switch_path(one.plug, other.plug)

    def _switch_path(self, start: str, end: str) -> tuple[str, ...]:
        """The only path: linked switches form a tree."""
        paths: dict[str, tuple[str, ...]] = {start: (start,)}
        frontier = [start]
        while end not in paths:
            here = frontier.pop()
            for name in self._linked_switches[here]:
                if name not in paths:
                    paths[name] = (*paths[here], name)
                    frontier.append(name)
        return paths[end]

    @cached_property
    def _linked_switches(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in self.underlay.switches}
        for item in self.links:
            one, other = item.link.ends
            if one in found and other in found:
                found[one].append(other)
                found[other].append(one)
        return found

    @cached_property
    def fabric_mtu(self) -> int:
        """The path MTU that holds between all nodes: the smallest MTU of the links in use."""
        sizes = {segment.mtu for segment in self.segments}
        if len(sizes) == 1:
            return sizes.pop()
        return min(self.segments[number].mtu for number in self._crossed())

    def _crossed(self) -> set[int]:
        """The Ethernets that packets between nodes traverse."""
        ends = [frozenset(port.segment for port in node.ports) for node in self.nodes]
        crossed = set(chain.from_iterable(ends))
        first = {step.to.owner for node in self.nodes for step in self.routing.first_steps(node.ports)}
        for goal in set(ends):
            towards = self.routing.towards(goal)
            seen, frontier = set(first), list(first)
            while frontier:
                for step in towards[frontier.pop()]:
                    crossed.add(step.out.segment)
                    if step.to.owner not in seen:
                        seen.add(step.to.owner)
                        frontier.append(step.to.owner)
        return crossed


class Share(NamedTuple):
    """A node's part of the pod ranges."""

    cidrs: tuple[Network, ...]
    """One per family."""
    pods: tuple[PodPlace, ...]
    further: tuple[Network, ...] = ()


ShareOut = Callable[[Topology, Mapping[str, int], Allocator], Mapping[str, Share]]
"""Allocates ranges and pods' addresses to nodes, which are given with their numbers. Raises Exhausted."""


def share(cidr: Network, prefix: int, index: int) -> Network:
    """The subnet of `cidr` with that prefix length and index, from 0."""
    offset = index << (cidr.max_prefixlen - prefix)
    return ipaddress.ip_network((cidr.network_address + offset, prefix))


def in_shares(topology: Topology, nodes: Mapping[str, int], numbers: Allocator) -> dict[str, Share]:
    """The i-th share of each pod range for node i, and addresses in it as from the plugin host-local.

    Raises Exhausted if a share is full.
    """
    found = {}
    for name, number in nodes.items():
        cidrs = tuple(share(cidr, prefix, number) for cidr, prefix in topology.cluster.ranges)
        pods = topology.pods_of(name)
        indices = _pod_numbers(name, number, cidrs, pods, numbers)
        places = (_pod_place(pod, index, cidrs) for pod, index in zip(pods, indices, strict=True))
        found[name] = Share(cidrs, tuple(places))
    return found


def layout(topology: Topology, numbers: Allocator | None = None, share_out: ShareOut = in_shares) -> Layout:
    """Allocates all addresses of a valid topology. Raises Exhausted if a range is full."""
    numbers = numbers or Allocator()
    underlay, names = topology.underlay, tuple(topology.nodes)
    shares = numbers.numbers("nodes", ((name,) for name in names), _node_room(topology))
    places = (*names, *underlay.routers)
    serials = dict(zip(places, numbers.numbers("places", ((name,) for name in places)), strict=True))
    number_of = dict(zip(names, shares, strict=True))
    links = plugged(underlay, number_of, numbers)
    ethernets = segments(underlay, names, links, numbers)
    ports: dict[str, list[Port]] = {name: [] for name in places}
    for port in chain.from_iterable(segment.ports for segment in ethernets):
        ports[port.owner].append(port)
    order: dict[tuple[str, str], int] = {}
    for number, link in enumerate(links):
        order |= dict.fromkeys(link.ends, number)
    for name, found in ports.items():
        # A node's first port is eth0, regardless of the order of links.
        found.sort(
            key=lambda port: (number_of.get(name) is not None and port.dev != UPLINK, order[port.owner, port.dev])
        )
    loopbacks = _loopbacks(underlay, [name for name in names if len(ports[name]) > 1], numbers)
    nodes = []
    for name, part in share_out(topology, number_of, numbers).items():
        own = tuple(ports[name])
        addresses = loopbacks[name] if name in loopbacks else own[0].addresses
        nodes.append(
            NodePlace(name, number_of[name], serials[name], addresses, part.cidrs, part.pods, own, part.further)
        )
    near = {segment.number for segment in ethernets if segment.switches}
    near.update(node.ports[0].segment for node in nodes if not node.is_on_loopback)
    routers = tuple(
        RouterPlace(name, number, serials[name], tuple(ports[name]), _known_by(name, ports[name], near, numbers))
        for name, number in zip(
            underlay.routers, numbers.numbers("routers", ((name,) for name in underlay.routers)), strict=True
        )
    )
    return Layout(topology, underlay, tuple(nodes), routers, ethernets, links)


def with_pods(before: Layout, topology: Topology, names: Collection[str], numbers: Allocator) -> Layout:
    """The layout of a topology that differs only in the pods of these nodes. Raises Exhausted."""

    def changed(node: NodePlace) -> NodePlace:
        pods = topology.pods_of(node.name)
        indices = _pod_numbers(node.name, node.number, node.pod_cidrs, pods, numbers)
        known = {place.number: place for place in node.pods}
        places = (
            unchanged(known.get(index + 1), pod) or _pod_place(pod, index, node.pod_cidrs)
            for pod, index in zip(pods, indices, strict=True)
        )
        return replace(node, pods=tuple(places))

    return before.with_pods(topology, tuple(changed(node) if node.name in names else node for node in before.nodes))


def unchanged(place: PodPlace | None, pod: Pod) -> PodPlace | None:
    """The place if it is that of an equal pod."""
    return place if place and (place.pod is pod or place.pod == pod) else None


def _node_room(topology: Topology) -> Room:
    size = min(1 << (prefix - cidr.prefixlen) for cidr, prefix in topology.cluster.ranges)
    ranges = " and ".join(map(str, topology.cluster.pod_cidr))
    return Room(min(size, MAX_NODE_NUMBERS), f"node range of {ranges}", f"{_RECREATE} with a larger pod_cidr")


def _known_by(router: str, ports: list[Port], near: set[int], numbers: Allocator) -> Port:
    by_dev = {port.dev: port for port in ports}
    first = next((port.dev for port in ports if port.segment in near), ports[0].dev)
    return by_dev[numbers.settle("routers known by", (router,), first, among=by_dev)]


def _loopbacks(underlay: Underlay, nodes: list[str], numbers: Allocator) -> dict[str, tuple[Interface, ...]]:
    """The loopback addresses of nodes with several links, by node."""
    size = min((cidr.num_addresses - 1 for cidr in underlay.loopbacks), default=0)
    room = Room(size, "node address on loopback devices", f"{_RECREATE} with a larger range for loopbacks")
    found = numbers.numbers("loopbacks", ((name,) for name in nodes), room)
    return {
        name: tuple(ipaddress.ip_interface(at(cidr, number + 1).ip) for cidr in underlay.loopbacks)
        for name, number in zip(nodes, found, strict=True)
    }


def _pod_numbers(
    node: str, number: int, cidrs: tuple[Network, ...], pods: Iterable[Pod], numbers: Allocator
) -> tuple[int, ...]:
    size = min(cidr.num_addresses - (cidr.version == 4) for cidr in cidrs) - FIRST_POD  # IPv4's last is for broadcast.
    room = Room(
        min(size, MAX_POD_NUMBERS),
        f"pod address on {node} ({', '.join(map(str, cidrs))})",
        f"add the pod to another node, or {_RECREATE} with a shorter node_prefix",
    )
    return numbers.numbers(f"pods of node {number}", ((pod.id,) for pod in pods), room)


def _pod_place(pod: Pod, index: int, cidrs: tuple[Network, ...]) -> PodPlace:
    return PodPlace(pod, index + 1, tuple(at(cidr, index + FIRST_POD) for cidr in cidrs))
