"""Who gets which address: node CIDRs as Kubernetes hands them out, then pods, nodes and routers.

In a fresh lab node i (in the topology's order) gets the i-th share of each pod range, as kube-controller-manager's
range allocator gives them to a fresh cluster. In its share the first address is the node's bridge, pods follow from the
second. On an Ethernet of the fabric its i-th node gets the i-th address, its routers the last ones. A node with several
links has addresses on each, and one of its own by which others know it, on its loopback device.

Where a lab has been laid out before, all that was there keeps what it has (`testbed.plan.allocation`).
"""

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

from testbed.plan.allocation import Allocator, Room
from testbed.plan.routing import Routing
from testbed.plan.segments import UPLINK, PluggedLink, Port, Segment, at, of_family, plugged, segments
from testbed.spec.topology import Pod, Topology
from testbed.spec.types import Address, Interface, Network
from testbed.spec.underlay import Underlay

__all__ = ["Layout", "NodePlace", "PodPlace", "RouterPlace", "at", "layout", "of_family", "share"]

MAX_EVER_NODES = 4095
"""Of a lab, with those that are gone: Weave has 12 bits for a peer's number."""
MAX_EVER_PODS = 65535
"""Of a node, with those that are gone: Cilium has 16 bits for an endpoint's number."""
FIRST_POD = 2
"""Of the addresses in a node's share: behind the network's and the bridge's."""
_ANEW = "recreate the lab"
_WITHOUT_PODS = (
    "families",
    "outer_families",
    "fabric_cidrs",
    "routing",
    "is_one_subnet",
    "_linked_switches",
    "fabric_mtu",
)
"""What is found out about a layout once, and does not depend on pods."""


@dataclass(frozen=True)
class PodPlace:
    """A pod with its addresses, one for each family; their prefix is that of the node's share."""

    pod: Pod
    number: int
    """Among all pods that its node ever had, counted from 1."""
    addresses: tuple[Interface, ...]


@dataclass(frozen=True)
class NodePlace:
    """A node with its addresses on the fabric, its shares of the pod ranges, and its pods."""

    name: str
    number: int
    """Among all nodes that the lab ever had, counted from 0: which share it has."""
    serial: int
    """Among all nodes and routers that the lab ever had, counted from 0."""
    addresses: tuple[Interface, ...]
    """By which others know it: those of its one port, or with several ports those of its loopback device."""
    pod_cidrs: tuple[Network, ...]
    pods: tuple[PodPlace, ...]
    ports: tuple[Port, ...]

    @property
    def is_on_loopback(self) -> bool:
        """Whether its address is none of its links'."""
        return len(self.ports) > 1

    def address(self, family: int) -> Address:
        """Its address on the fabric in that family, 4 or 6."""
        return of_family(self.addresses, family)


@dataclass(frozen=True)
class RouterPlace:
    """A router of the fabric."""

    name: str
    number: int
    """Among all routers that the lab ever had, counted from 0."""
    serial: int
    """Among all nodes and routers that the lab ever had, counted from 0."""
    ports: tuple[Port, ...]
    known_by: Port
    """The one by whose addresses others know it: towards nodes, if it has such a port."""

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """By which others know it."""
        return self.known_by.addresses


@dataclass(frozen=True)
class Layout:
    """A topology with every address handed out."""

    topology: Topology
    underlay: Underlay
    nodes: tuple[NodePlace, ...]
    routers: tuple[RouterPlace, ...]
    segments: tuple[Segment, ...]
    links: tuple[PluggedLink, ...]

    def with_pods(self, topology: Topology, nodes: tuple[NodePlace, ...]) -> "Layout":
        """The same with other pods on nodes, as that topology has them."""
        made = replace(self, topology=topology, nodes=nodes)
        vars(made).update((name, vars(self)[name]) for name in _WITHOUT_PODS if name in vars(self))
        return made

    def without_pods(self) -> "Layout":
        """What there is but for pods: to be read where nothing may depend on them."""
        return self.with_pods(self.topology, tuple(replace(node, pods=()) for node in self.nodes))

    @property
    def pod_cidrs(self) -> tuple[Network, ...]:
        return self.topology.cluster.pod_cidr

    @cached_property
    def fabric_cidrs(self) -> tuple[Network, ...]:
        """The ranges that nodes have addresses from."""
        used = sorted({port.segment for node in self.nodes for port in node.ports})
        subnets = dict.fromkeys(chain.from_iterable(self.segments[number].subnets for number in used))
        own = self.underlay.loopbacks if any(node.is_on_loopback for node in self.nodes) else ()
        return (*subnets, *own)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """The address families in use anywhere."""
        return tuple(sorted({cidr.version for cidr in self.pod_cidrs} | set(self.fabric_families)))

    @property
    def fabric_families(self) -> tuple[int, ...]:
        return self.underlay.families

    @cached_property
    def outer_families(self) -> tuple[int, ...]:
        """Those of the outer headers of tunnels for all pods."""
        return tuple(sorted({self.outer_family(cidr.version) for cidr in self.pod_cidrs}))

    def outer_family(self, pod_family: int) -> int:
        """That of a tunnel's outer header: the family of the packet inside, if the fabric has it."""
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
        """The addresses of the first router on the nodes' one Ethernet; none where there is no such thing."""
        if not self.is_one_subnet:
            return ()
        steps = self.routing.first_steps(self.nodes[0].ports)
        return steps[0].to.addresses if steps else ()

    @cached_property
    def is_one_subnet(self) -> bool:
        """Whether all nodes are neighbours."""
        return all(self.are_neighbours(self.nodes[0], node) for node in self.nodes)

    def are_neighbours(self, one: NodePlace, other: NodePlace) -> bool:
        """Whether they share an Ethernet, and know each other by addresses on it."""
        if one.is_on_loopback or other.is_on_loopback:
            return False
        return one.ports[0].segment == other.ports[0].segment

    def subnet_of(self, node: NodePlace) -> tuple[Network, ...]:
        """The subnet that a node's address is in, one a family; of one on the loopback device the address alone."""
        if node.is_on_loopback:
            return tuple(address.network for address in node.addresses)
        return self.segments[node.ports[0].segment].subnets

    def switches_between(self, one: Port, other: Port) -> tuple[str, ...]:
        """The switches between two ports of an Ethernet, in order; none on a link without one."""
        if not self.segments[one.segment].switches:
            return ()
        return self._switch_path(one.plug, other.plug)

    def _switch_path(self, start: str, end: str) -> tuple[str, ...]:
        """Switches that are linked with each other are a tree, so there is one way."""
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
        """The largest packet that comes from any node to any other: the smallest MTU of a link on a way."""
        sizes = {segment.mtu for segment in self.segments}
        if len(sizes) == 1:
            return sizes.pop()
        return min(self.segments[number].mtu for number in self._crossed())

    def _crossed(self) -> set[int]:
        """The Ethernets that packets between nodes cross."""
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


def share(cidr: Network, prefix: int, index: int) -> Network:
    """The index-th subnet of that prefix length in cidr, counted from 0."""
    offset = index << (cidr.max_prefixlen - prefix)
    return ipaddress.ip_network((cidr.network_address + offset, prefix))


def pods_domain(node: int) -> str:
    """Of the numbers of the pods of the node of that number, which no later node of the same name has."""
    return f"pods of node {node}"


def layout(topology: Topology, numbers: Allocator | None = None) -> Layout:
    """Hands out every address of a valid topology. Raises Exhausted where a lab has used up a range."""
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
        # A node's first port is eth0, wherever its link stands.
        found.sort(
            key=lambda port: (number_of.get(name) is not None and port.dev != UPLINK, order[port.owner, port.dev])
        )
    loopbacks = _loopbacks(underlay, [name for name in names if len(ports[name]) > 1], numbers)
    nodes = []
    for name, number in number_of.items():
        own = tuple(ports[name])
        addresses = loopbacks[name] if name in loopbacks else own[0].addresses
        cidrs = tuple(share(cidr, prefix, number) for cidr, prefix in topology.cluster.ranges)
        pods = topology.pods_of(name)
        indices = _pod_numbers(name, number, pods, cidrs, numbers)
        places_of_pods = tuple(_pod_place(pod, index, cidrs) for pod, index in zip(pods, indices, strict=True))
        nodes.append(NodePlace(name, number, serials[name], addresses, cidrs, places_of_pods, own))
    near = {segment.number for segment in ethernets if segment.switches}
    near.update(node.ports[0].segment for node in nodes if not node.is_on_loopback)
    routers = tuple(
        RouterPlace(name, number, serials[name], tuple(ports[name]), _known_by(name, ports[name], near, numbers))
        for name, number in zip(
            underlay.routers, numbers.numbers("routers", ((name,) for name in underlay.routers)), strict=True
        )
    )
    return Layout(topology, underlay, tuple(nodes), routers, ethernets, links)


def with_pods(
    before: Layout, topology: Topology, names: Collection[str], numbers: Allocator, first: int = FIRST_POD
) -> Layout:
    """The layout of a topology that differs in the pods of these nodes alone. Raises Exhausted.

    A node's first pod has the address of that number in the node's range.
    """

    def changed(node: NodePlace) -> NodePlace:
        shares = tuple(share(cidr, prefix, node.number) for cidr, prefix in topology.cluster.ranges)
        pods = topology.pods_of(node.name)
        indices = _pod_numbers(node.name, node.number, pods, shares, numbers)
        known = {place.number: place for place in node.pods}
        places = [
            # Most are the very same pods.
            place
            if (place := known.get(index + 1)) and (place.pod is pod or place.pod == pod)
            else _pod_place(pod, index, node.pod_cidrs, first)
            for pod, index in zip(pods, indices, strict=True)
        ]
        return replace(node, pods=tuple(places))

    return before.with_pods(topology, tuple(changed(node) if node.name in names else node for node in before.nodes))


def _node_room(topology: Topology) -> Room:
    size = min(1 << (prefix - cidr.prefixlen) for cidr, prefix in topology.cluster.ranges)
    ranges = " and ".join(map(str, topology.cluster.pod_cidr))
    return Room(min(size, MAX_EVER_NODES), f"node range of {ranges}", f"{_ANEW}, or with a larger pod_cidr")


def _known_by(router: str, ports: list[Port], near: set[int], numbers: Allocator) -> Port:
    by_dev = {port.dev: port for port in ports}
    first = next((port.dev for port in ports if port.segment in near), ports[0].dev)
    return by_dev[numbers.settle("routers known by", (router,), first, among=by_dev)]


def _loopbacks(underlay: Underlay, nodes: list[str], numbers: Allocator) -> dict[str, tuple[Interface, ...]]:
    """By node with several links: its own address in each family."""
    size = min((cidr.num_addresses - 1 for cidr in underlay.loopbacks), default=0)
    room = Room(size, "node address on loopback devices", f"{_ANEW}, or with a larger range for loopbacks")
    found = numbers.numbers("loopbacks", ((name,) for name in nodes), room)
    return {
        name: tuple(ipaddress.ip_interface(at(cidr, number + 1).ip) for cidr in underlay.loopbacks)
        for name, number in zip(nodes, found, strict=True)
    }


def _pod_numbers(
    node: str, number: int, pods: Iterable[Pod], cidrs: tuple[Network, ...], numbers: Allocator
) -> tuple[int, ...]:
    # The network's address, the bridge's and (IPv4) that for broadcast are no pod's.
    size = min(cidr.num_addresses - (3 if cidr.version == 4 else 2) for cidr in cidrs)
    mend = f"add the pod to another node, or {_ANEW}"
    room = Room(min(size, MAX_EVER_PODS), f"pod address on {node} ({', '.join(map(str, cidrs))})", mend)
    return numbers.numbers(pods_domain(number), ((pod.id,) for pod in pods), room)


def _pod_place(pod: Pod, index: int, cidrs: tuple[Network, ...], first: int = FIRST_POD) -> PodPlace:
    return PodPlace(pod, index + 1, tuple(at(cidr, index + first) for cidr in cidrs))
