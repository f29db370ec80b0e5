"""flat-bridge: the pods of all nodes share one Ethernet; each node has a bridge of it.

For every pod the whole pod range is on-link; it resolves all other pods by ARP. The transport joins the nodes' bridges:
through the fabric itself (`l2`), or a tunnel that carries frames.

With `l2` a veth pair connects the pods' bridge to a second bridge, which is the node's link to the fabric and has its
address:

    pod eth0 - veth [kube-bridge] to-fabric - to-pods [br-node] eth0 - switch - eth0 [br-node] ...

With a tunnel the node has an address on the pods' bridge, which is the pods' gateway.
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
    """The node's addresses on its pods' bridge: the first of its share, with the prefix length of the whole range."""
    return tuple(
        type(first)((first.ip, cidr.prefixlen))
        for first, cidr in zip((at(share, 1) for share in node.pod_cidrs), layout.pod_cidrs, strict=True)
    )


ATTACHMENT = Attachment(
    name="flat-bridge",
    summary="a bridge on each node, joined to one Ethernet of all pods",
    like=("Weave Net", "Docker's overlay networks", "a bridge on a flat network"),
    needs=("veth", "bridge"),
    delivers=Delivers.FRAMES,
    attach=_attach,
    on_fabric=Uplink(NODE_BRIDGE, NODE_BRIDGE),
    has_own_macs=True,
    page=__doc__,
)
