"""Pods as namespaces, and helpers shared by the attachments."""

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
    """The SNAT addresses of pods whose node masquerades them: all addresses of the node."""
    return tuple(address.ip for address in node.addresses)


def add_pod(draft: Draft, layout: Layout, node: NodePlace, place: PodPlace) -> SpaceDraft:
    """Adds a pod's namespace, without devices."""
    space = draft.space(place.pod.id, Kind.POD, node.name, tuple(at.ip for at in place.addresses))
    space.snat_addresses = draft.masks(node)
    quiet(space, layout)
    return space


def alone(address: Interface) -> Interface:
    """The address with a full-length prefix (/32 or /128)."""
    return type(address)((address.ip, address.max_prefixlen))


def in_whole_range(place: PodPlace, layout: Layout) -> Iterator[Interface]:
    """The pod's addresses with the prefix of the whole pod range instead of the node's share."""
    for address, cidr in zip(place.addresses, layout.pod_cidrs, strict=True):
        yield type(address)((address.ip, cidr.prefixlen))


def settle_on_fabric(pod: SpaceDraft, layout: Layout, place: PodPlace) -> None:
    """Adds addresses and routes of a pod on the fabric's Ethernet.

    All pods and nodes are reached on the link, other destinations through the router.
    """
    for address in in_whole_range(place, layout):
        pod.address(POD_INTERFACE, address)
    for cidr in layout.fabric_cidrs:
        pod.route(cidr, POD_INTERFACE)
    for gateway in layout.gateway:
        pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)
