"""Cilium's attachment of pods: one pair each, with a program on the node's end, and no route to the pod.

    pod eth0 10.244.0.2/32, default via 10.244.0.1 -- lxcX [cil_from_container] node

The next hop is the address of the node's `cilium_host`, but that device does not resolve it: the program answers the
pod's ARP and NDP requests for every address with the MAC address of the node's end. Netkit needs no resolution.
"""

import hashlib
from functools import partial
from ipaddress import ip_network

from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, NodePlace, at
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_INTERFACE, add_pod, alone
from testbed.spec.types import Interface


def host_end(pod: str) -> str:
    """The node's end of a pod's pair: `lxc` and a truncated hash."""
    return "lxc" + hashlib.sha256(pod.encode()).hexdigest()[:12]


def router_addresses(node: NodePlace) -> tuple[Interface, ...]:
    """The addresses of `cilium_host`, one per family: the first of the node's share."""
    return tuple(alone(at(cidr, 1)) for cidr in node.pod_cidrs)


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool, *, netkit: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        for place in node.pods:
            name, dev = place.pod.id, host_end(place.pod.id)
            pod = add_pod(draft, layout, node, place)
            ends = (node.name, dev), (name, POD_INTERFACE)
            if netkit:
                draft.netkit(*ends, mtu)
            else:
                draft.veth(*ends, mtu)
            if 4 in layout.families:
                space.sysctl(f"net/ipv4/conf/{dev}/rp_filter", 0, dev=dev)
            for address, router in zip(place.addresses, router_addresses(node), strict=True):
                pod.address(POD_INTERFACE, alone(address))
                pod.route(ip_network(router.ip), POD_INTERFACE)
                pod.route(DEFAULT_ROUTE[router.version], POD_INTERFACE, via=router.ip)


VETH = Attachment(
    name="cilium-veth",
    summary="a veth pair for each pod, with an eBPF program on the node's end",
    like=("Cilium",),
    needs=("veth", "bpf"),
    delivers=Delivers.PACKETS,
    attach=partial(_attach, netkit=False),
    page=__doc__,
)
NETKIT = Attachment(
    name="cilium-netkit",
    summary="a netkit pair for each pod, with an eBPF program on the packets that the pod sends",
    like=("Cilium with bpf.datapathMode=netkit",),
    needs=("netkit", "bpf"),
    delivers=Delivers.PACKETS,
    attach=partial(_attach, netkit=True),
    page=__doc__,
)
