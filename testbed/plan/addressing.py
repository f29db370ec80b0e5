"""Who gets which address: node CIDRs as Kubernetes hands them out, then pods, nodes and routers.

Node i (in the topology's order) gets the i-th share of each pod range, as kube-controller-manager's range allocator
gives them to a fresh cluster. In its share the first address is the node's bridge, pods follow from the second. On an
Ethernet of the fabric its i-th node gets the i-th address, its routers the last ones. A node with several links has
addresses on each, and one of its own by which others know it, on its loopback device.
"""

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from testbed.plan.routing import Routing
from testbed.plan.segments import PluggedLink, Port, Segment, at, of_family, plugged, segments
from testbed.spec.topology import Pod, Topology
from testbed.spec.types import Address, Interface, Network
from testbed.spec.underlay import Underlay

__all__ = ["Layout", "NodePlace", "PodPlace", "RouterPlace", "at", "layout", "of_family", "share"]


@dataclass(frozen=True)
class PodPlace:
    """A pod with its addresses, one for each family; their prefix is that of the node's share."""

    pod: Pod
    addresses: tuple[Interface, ...]


@dataclass(frozen=True)
class NodePlace:
    """A node with its addresses on the fabric, its shares of the pod ranges, and its pods."""

    name: str
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

    @property
    def families(self) -> tuple[int, ...]:
        """The address families in use anywhere."""
        return tuple(sorted({cidr.version for cidr in self.pod_cidrs} | set(self.fabric_families)))

    @property
    def fabric_families(self) -> tuple[int, ...]:
        return self.underlay.families

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


def layout(topology: Topology) -> Layout:
    """Hands out every address of a valid topology."""
    underlay = topology.underlay
    links = plugged(underlay, topology.nodes)
    ethernets = segments(underlay, topology.nodes, links)
    ports: dict[str, list[Port]] = {name: [] for name in (*topology.nodes, *underlay.routers)}
    for port in chain.from_iterable(segment.ports for segment in ethernets):
        ports[port.owner].append(port)
    order: dict[tuple[str, str], int] = {}
    for number, link in enumerate(links):
        order |= dict.fromkeys(link.ends, number)
    for found in ports.values():
        found.sort(key=lambda port: order[port.owner, port.dev])
    loopbacks = iter(range(1, len(topology.nodes) + 1))
    nodes = []
    for index, name in enumerate(topology.nodes):
        own = ports[name]
        addresses = own[0].addresses if len(own) == 1 else _loopback(underlay, next(loopbacks))
        nodes.append(_node_place(topology, index, name, addresses, tuple(own)))
    near = {segment.number for segment in ethernets if segment.switches}
    near.update(node.ports[0].segment for node in nodes if not node.is_on_loopback)
    routers = tuple(_router_place(name, tuple(ports[name]), near) for name in underlay.routers)
    return Layout(topology, underlay, tuple(nodes), routers, ethernets, links)


def _router_place(name: str, ports: tuple[Port, ...], near: set[int]) -> RouterPlace:
    return RouterPlace(name, ports, next((port for port in ports if port.segment in near), ports[0]))


def _loopback(underlay: Underlay, index: int) -> tuple[Interface, ...]:
    return tuple(ipaddress.ip_interface(at(cidr, index).ip) for cidr in underlay.loopbacks)


def _node_place(
    topology: Topology, index: int, name: str, addresses: tuple[Interface, ...], ports: tuple[Port, ...]
) -> NodePlace:
    cidrs = tuple(share(cidr, prefix, index) for cidr, prefix in topology.cluster.ranges)
    return NodePlace(
        name,
        addresses,
        cidrs,
        tuple(
            PodPlace(pod, tuple(at(cidr, number) for cidr in cidrs))
            for number, pod in enumerate(topology.pods_of(name), start=2)
        ),
        ports,
    )
