"""bridge: each pod is a port of a bridge on its node, and the bridge is the pods' gateway.

    pod eth0 10.244.0.2/24 -- veth [kube-bridge 10.244.0.1/24] node

Like the CNI plugin `bridge` with `isGateway`: the node's share of the pod range is one Ethernet, on which pods resolve
each other by ARP. Their default route is the bridge's address. The node forwards between the bridge and its other
devices.
"""

from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, at
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_BRIDGE, POD_INTERFACE, add_pod, host_veth


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        space.bridge(POD_BRIDGE, mtu)
        gateways = [at(cidr, 1) for cidr in node.pod_cidrs]
        for gateway in gateways:
            space.address(POD_BRIDGE, gateway)
        for place in draft.pods(node):
            pod = add_pod(draft, layout, node, place)
            draft.veth((node.name, host_veth(place.pod.id)), (place.pod.id, POD_INTERFACE), mtu, a_master=POD_BRIDGE)
            for address in place.addresses:
                pod.address(POD_INTERFACE, address)
            for gateway in gateways:
                pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)


ATTACHMENT = Attachment(
    name="bridge",
    summary="a bridge on each node, which is its pods' gateway",
    like=("CNI plugin bridge", "Flannel", "kube-router", "kubenet"),
    needs=("veth", "bridge"),
    delivers=Delivers.PACKETS,
    attach=_attach,
    page=__doc__,
)
