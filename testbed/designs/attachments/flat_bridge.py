"""flat-bridge: one Ethernet for the pods of all nodes, of which each node has a bridge.

Every pod has the whole pod range as its link and finds all others by ARP. What joins the nodes' bridges is the
transport's: the fabric itself (`l2`), or a tunnel that carries frames.

Under `l2` the pods' bridge hangs by a veth pair on a second one, which is the node's own link to the fabric and holds
its address:

    pod eth0 - veth [kube-bridge] to-fabric - to-pods [br-node] eth0 - switch - eth0 [br-node] ...

Inside a tunnel the pods' bridge is a link of its own, on which the node has an address, its pods' way out.
"""

from testbed.designs.attachment import Attachment, Delivers, Uplink
from testbed.plan.addressing import Layout, NodePlace, at
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_BRIDGE, POD_INTERFACE, add_pod, host_veth, in_whole_range, settle_on_fabric
from testbed.spec.types import Interface

NODE_BRIDGE = "br-node"


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        space.bridge(POD_BRIDGE, mtu)
        own = () if on_fabric else own_addresses(layout, node)
        if on_fabric:
            space.bridge(NODE_BRIDGE, mtu)
            draft.veth((node.name, "to-fabric"), (node.name, "to-pods"), mtu, a_master=POD_BRIDGE, b_master=NODE_BRIDGE)
        else:
            forward(space, layout)
            for address in own:
                space.address(POD_BRIDGE, address)
        for place in draft.pods(node):
            pod = add_pod(draft, layout, node, place)
            draft.veth((node.name, host_veth(place.pod.id)), (place.pod.id, POD_INTERFACE), mtu, a_master=POD_BRIDGE)
            if on_fabric:
                settle_on_fabric(pod, layout, place)
                continue
            for address in in_whole_range(place, layout):
                pod.address(POD_INTERFACE, address)
            for gateway in own:
                pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)


def own_addresses(layout: Layout, node: NodePlace) -> tuple[Interface, ...]:
    """The node's on its pods' bridge: the first of its share, with the prefix of the whole range."""
    return tuple(
        type(first)((first.ip, cidr.prefixlen))
        for first, cidr in zip((at(share, 1) for share in node.pod_cidrs), layout.pod_cidrs, strict=True)
    )


ATTACHMENT = Attachment(
    name="flat-bridge",
    summary="bridges that are joined to one Ethernet of all pods",
    like=("Weave Net", "Docker's overlay networks", "a bridge on a flat network"),
    needs=("veth", "bridge"),
    delivers=Delivers.FRAMES,
    attach=_attach,
    on_fabric=Uplink(NODE_BRIDGE, NODE_BRIDGE),
    has_own_macs=True,
    page=__doc__,
)
