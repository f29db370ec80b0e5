"""ipvlan: pods share the node's eth0 and its MAC address; packets are assigned to pods by IP address.

    pod eth0 (ipvlan of the node's eth0) -- eth0 -- switch

ipvlan-l2: pods are on the fabric's Ethernet and answer ARP for their addresses; the whole pod range is on-link. For
clouds and switches that allow one MAC address per machine.

ipvlan-l3: no ARP. Packets from a pod are routed by the node's tables, but only out of eth0; packets to a pod are
delivered to it before the node's stack sees them.

As with macvlan, a device cannot reach its parent. With ipvlan-l2 the node's address is therefore on an ipvlan device as
well; with ipvlan-l3 the node has an ipvlan device with routes to its own pods.
"""

from testbed.designs.attachment import Attachment, Delivers, Uplink
from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, UPLINK, forward
from testbed.plan.pods import POD_INTERFACE, add_pod, alone, settle_on_fabric

NODE_DEVICE = "ipvlan0"


def _attach_l2(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        draft.ipvlan((node.name, NODE_DEVICE), (node.name, UPLINK), mtu, "l2")
        for place in draft.pods(node):
            pod = add_pod(draft, layout, node, place)
            draft.ipvlan((place.pod.id, POD_INTERFACE), (node.name, UPLINK), mtu, "l2")
            settle_on_fabric(pod, layout, place)


def _attach_l3(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        draft.ipvlan((node.name, NODE_DEVICE), (node.name, UPLINK), mtu, "l3")
        for cidr in node.pod_cidrs:
            space.route(cidr, NODE_DEVICE)
        for place in draft.pods(node):
            pod = add_pod(draft, layout, node, place)
            draft.ipvlan((place.pod.id, POD_INTERFACE), (node.name, UPLINK), mtu, "l3")
            for address in place.addresses:
                own = alone(address)
                pod.address(POD_INTERFACE, own)
                pod.route(DEFAULT_ROUTE[own.version], POD_INTERFACE)


L2 = Attachment(
    name="ipvlan-l2",
    summary="pods on the fabric's Ethernet with the node's MAC address; they bypass the node's stack",
    like=("CNI plugin ipvlan", "Terway (Alibaba Cloud)"),
    needs=("veth", "bridge", "ipvlan"),
    delivers=Delivers.FABRIC_FRAMES,
    attach=_attach_l2,
    on_fabric=Uplink(NODE_DEVICE),
    page=__doc__,
)
L3 = Attachment(
    name="ipvlan-l3",
    summary="pods behind the node's eth0, distinguished by IP address, routed by the node's tables",
    like=("CNI plugin ipvlan in mode l3",),
    needs=("veth", "bridge", "ipvlan"),
    delivers=Delivers.FABRIC_PACKETS,
    attach=_attach_l3,
    page=__doc__,
)
