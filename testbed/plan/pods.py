"""Pods and how they hang on their node."""

from collections.abc import Iterable

from testbed.plan.addressing import Layout, NodePlace, PodPlace, at
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import DEFAULT_ROUTE, forward, quiet
from testbed.plan.naming import interface_name
from testbed.plan.objects import Kind
from testbed.spec.types import Interface

POD_INTERFACE = "eth0"
POD_BRIDGE = "kube-bridge"


def host_veth(pod: str) -> str:
    """The node's end of the pod's veth pair."""
    return interface_name("veth", pod)


def add_pod(
    draft: Draft, layout: Layout, node: NodePlace, place: PodPlace, mtu: int, addresses: Iterable[Interface]
) -> SpaceDraft:
    """A pod as a port of its node's pod bridge, with these addresses on its eth0."""
    pod = place.pod.id
    space = draft.space(pod, Kind.POD, node.name, tuple(at.ip for at in place.addresses))
    quiet(space, layout)
    draft.veth((node.name, host_veth(pod)), (pod, POD_INTERFACE), mtu, a_master=POD_BRIDGE)
    for address in addresses:
        space.address(POD_INTERFACE, address)
    return space


def route_pods_through_bridge(draft: Draft, layout: Layout, node: NodePlace, mtu: int) -> None:
    """The node's pods on a bridge of its own, which is their subnet's router: the CNI plugin `bridge` as a gateway.

    The node then forwards between that bridge and the fabric.
    """
    space = draft[node.name]
    forward(space, layout)
    space.bridge(POD_BRIDGE, mtu)
    gateways = [at(cidr, 1) for cidr in node.pod_cidrs]
    for gateway in gateways:
        space.address(POD_BRIDGE, gateway)
    for place in node.pods:
        pod = add_pod(draft, layout, node, place, mtu, place.addresses)
        for gateway in gateways:
            pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)
