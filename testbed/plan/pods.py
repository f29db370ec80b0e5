"""Pods as namespaces, and what is common to the ways in which they hang on their node."""

from collections.abc import Iterator

from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import DEFAULT_ROUTE, quiet
from testbed.plan.naming import interface_name
from testbed.plan.objects import Kind
from testbed.spec.types import Address, Interface

POD_INTERFACE = "eth0"
POD_BRIDGE = "kube-bridge"


def host_veth(pod: str) -> str:
    """The node's end of the pod's veth pair."""
    return interface_name("veth", pod)


def behind_node(node: NodePlace) -> tuple[Address, ...]:
    """What masks pods whose node masquerades them: all its addresses."""
    return tuple(address.ip for address in node.addresses)


def add_pod(draft: Draft, layout: Layout, node: NodePlace, place: PodPlace) -> SpaceDraft:
    """A pod's namespace, without a device yet."""
    space = draft.space(place.pod.id, Kind.POD, node.name, tuple(at.ip for at in place.addresses))
    space.masked_by = draft.masks(node)
    quiet(space, layout)
    return space


def alone(address: Interface) -> Interface:
    """The address without neighbours: a prefix of its whole length."""
    return type(address)((address.ip, address.max_prefixlen))


def in_whole_range(place: PodPlace, layout: Layout) -> Iterator[Interface]:
    """The pod's addresses with the prefix of the whole pod range instead of the node's share."""
    for address, cidr in zip(place.addresses, layout.pod_cidrs, strict=True):
        yield type(address)((address.ip, cidr.prefixlen))


def settle_on_fabric(pod: SpaceDraft, layout: Layout, place: PodPlace) -> None:
    """What a pod needs on the fabric's own Ethernet: all pods and nodes are on its link, all else behind the router."""
    for address in in_whole_range(place, layout):
        pod.address(POD_INTERFACE, address)
    for cidr in layout.fabric_cidrs:
        pod.route(cidr, POD_INTERFACE)
    for gateway in layout.gateway:
        pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)
