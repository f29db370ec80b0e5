"""Pods as namespaces, and what is common to the ways in which they hang on their node."""

from collections.abc import Iterator

from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import quiet
from testbed.plan.naming import interface_name
from testbed.plan.objects import Kind
from testbed.spec.types import Interface

POD_INTERFACE = "eth0"
POD_BRIDGE = "kube-bridge"


def host_veth(pod: str) -> str:
    """The node's end of the pod's veth pair."""
    return interface_name("veth", pod)


def add_pod(draft: Draft, layout: Layout, node: NodePlace, place: PodPlace) -> SpaceDraft:
    """A pod's namespace, without a device yet."""
    space = draft.space(place.pod.id, Kind.POD, node.name, tuple(at.ip for at in place.addresses))
    quiet(space, layout)
    return space


def alone(address: Interface) -> Interface:
    """The address without neighbours: a prefix of its whole length."""
    return type(address)((address.ip, address.max_prefixlen))


def in_whole_range(place: PodPlace, layout: Layout) -> Iterator[Interface]:
    """The pod's addresses with the prefix of the whole pod range instead of the node's share."""
    for address, cidr in zip(place.addresses, layout.pod_cidrs, strict=True):
        yield type(address)((address.ip, cidr.prefixlen))
