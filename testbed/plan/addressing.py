"""Who gets which address: node CIDRs as Kubernetes hands them out, then pods, nodes and the gateway.

Node i (in the topology's order) gets the i-th share of each pod range, as kube-controller-manager's range allocator
gives them to a fresh cluster. In its share the first address is the node's bridge, pods follow from the second. On the
fabric node i gets the i-th address, the gateway the last one.
"""

import ipaddress
from dataclasses import dataclass

from testbed.spec.topology import Pod, Topology
from testbed.spec.types import Address, Interface, Network


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
    pod_cidrs: tuple[Network, ...]
    pods: tuple[PodPlace, ...]

    def address(self, family: int) -> Address:
        """Its address on the fabric in that family, 4 or 6."""
        return of_family(self.addresses, family)


@dataclass(frozen=True)
class Layout:
    """A topology with every address handed out."""

    topology: Topology
    nodes: tuple[NodePlace, ...]
    gateway: tuple[Interface, ...]

    @property
    def pod_cidrs(self) -> tuple[Network, ...]:
        return self.topology.cluster.pod_cidr

    @property
    def fabric_cidrs(self) -> tuple[Network, ...]:
        return self.topology.fabric.subnet

    @property
    def families(self) -> tuple[int, ...]:
        """The address families in use anywhere."""
        return tuple(sorted({cidr.version for cidr in (*self.pod_cidrs, *self.fabric_cidrs)}))

    is_one_subnet = True

    @property
    def fabric_mtu(self) -> int:
        return self.topology.fabric.mtu

    @property
    def needs(self) -> tuple[str, ...]:
        return ("tbf",) if self.topology.fabric.rate else ()

    def are_neighbours(self, one: NodePlace, other: NodePlace) -> bool:
        return True

    @property
    def fabric_families(self) -> tuple[int, ...]:
        return tuple(cidr.version for cidr in self.fabric_cidrs)


def of_family(addresses: tuple[Interface, ...], family: int) -> Address:
    """The address of that family, which must be among them."""
    for address in addresses:
        if address.version == family:
            return address.ip
    raise LookupError(f"no IPv{family} address among {addresses}")


def share(cidr: Network, prefix: int, index: int) -> Network:
    """The index-th subnet of that prefix length in cidr, counted from 0."""
    offset = index << (cidr.max_prefixlen - prefix)
    return ipaddress.ip_network((cidr.network_address + offset, prefix))


def at(cidr: Network, index: int) -> Interface:
    """The index-th address of cidr, with cidr's prefix; -1 is the last usable one."""
    if index < 0:
        # IPv4 keeps the very last address for broadcast.
        index += cidr.num_addresses - (1 if cidr.version == 4 else 0)
    return ipaddress.ip_interface((cidr.network_address + index, cidr.prefixlen))


def layout(topology: Topology) -> Layout:
    """Hands out every address of a valid topology."""
    return Layout(
        topology,
        tuple(_node_place(topology, index, name) for index, name in enumerate(topology.nodes)),
        tuple(at(subnet, -1) for subnet in topology.fabric.subnet),
    )


def _node_place(topology: Topology, index: int, name: str) -> NodePlace:
    cidrs = tuple(share(cidr, prefix, index) for cidr, prefix in topology.cluster.ranges)
    return NodePlace(
        name,
        tuple(at(subnet, index + 1) for subnet in topology.fabric.subnet),
        cidrs,
        tuple(
            PodPlace(pod, tuple(at(cidr, number) for cidr in cidrs))
            for number, pod in enumerate(topology.pods_of(name), start=2)
        ),
    )
