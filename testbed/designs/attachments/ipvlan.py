"""ipvlan: pods share the node's eth0 and its MAC address; which packet is whose is told by IP address.

    pod eth0 (ipvlan of the node's eth0) -- eth0 -- switch

ipvlan-l2: pods are on the fabric's own Ethernet, answer ARP for their addresses, and have the whole pod range as their
link. For clouds and switches that allow one MAC address a machine.

ipvlan-l3: no ARP; what a pod sends is routed by the node's tables, but out of eth0 alone, and what comes for it is
handed to it before the node's stack sees it.

As with macvlan a device of the parent's does not reach the parent itself. In the first mode the node's address is on
such a device as well; in the other the node has one by which it routes to its own pods.
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
    summary="pods on the fabric's own Ethernet, past the node's stack, all with the node's MAC address",
    like=("CNI plugin ipvlan", "Terway (Alibaba Cloud)"),
    needs=("veth", "bridge", "ipvlan"),
    delivers=Delivers.FABRIC_FRAMES,
    attach=_attach_l2,
    on_fabric=Uplink(NODE_DEVICE),
    page=__doc__,
)
L3 = Attachment(
    name="ipvlan-l3",
    summary="pods behind the node's eth0, told apart by IP address, routed by the node's tables",
    like=("CNI plugin ipvlan in mode l3",),
    needs=("veth", "bridge", "ipvlan"),
    delivers=Delivers.FABRIC_PACKETS,
    attach=_attach_l3,
    page=__doc__,
)
