"""macvlan: pods are on the fabric's Ethernet, each with its own MAC address on the node's eth0.

    pod eth0 (macvlan of the node's eth0) 10.244.0.2/16 -- eth0 -- switch

Packets bypass the node's stack. macvlan devices of one parent reach each other (mode `bridge`), but not the parent.
The node's address is therefore on a macvlan device too, so that the node can reach its own pods.
"""

from testbed.designs.attachment import Attachment, Delivers, Uplink
from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import UPLINK
from testbed.plan.pods import POD_INTERFACE, add_pod, settle_on_fabric

NODE_DEVICE = "macvlan0"


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        draft.macvlan((node.name, NODE_DEVICE), (node.name, UPLINK), mtu)
        for place in draft.pods(node):
            pod = add_pod(draft, layout, node, place)
            draft.macvlan((place.pod.id, POD_INTERFACE), (node.name, UPLINK), mtu)
            settle_on_fabric(pod, layout, place)


ATTACHMENT = Attachment(
    name="macvlan",
    summary="pods on the fabric's Ethernet with their own MAC addresses; they bypass the node's stack",
    like=("CNI plugin macvlan", "Multus with macvlan"),
    needs=("veth", "bridge", "macvlan"),
    delivers=Delivers.FABRIC_FRAMES,
    attach=_attach,
    on_fabric=Uplink(NODE_DEVICE),
    has_own_macs=True,
    page=__doc__,
)
