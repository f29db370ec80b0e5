"""ptp: a veth pair for each pod, with the same gateway address at every node's end, and a route to the pod.

    pod eth0 10.244.0.2/24, default via 10.244.0.1 -- veth 10.244.0.1/32 node, 10.244.0.2 dev vethX

Like the CNI plugin `ptp`. The pod has the prefix length of its node's share, but no on-link route for it: only the
gateway is on-link, and pods of the same node are reached through it.
"""

from ipaddress import ip_network

from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, at
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_INTERFACE, add_pod, alone, host_veth


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        gateways = [at(cidr, 1) for cidr in node.pod_cidrs]
        for place in draft.pods(node):
            dev = host_veth(place.pod.id)
            pod = add_pod(draft, layout, node, place)
            draft.veth((node.name, dev), (place.pod.id, POD_INTERFACE), mtu)
            for address, gateway in zip(place.addresses, gateways, strict=True):
                space.address(dev, alone(gateway))
                space.route(alone(address).network, dev)
                pod.address(POD_INTERFACE, address, noprefixroute=True)
                pod.route(ip_network(gateway.ip), POD_INTERFACE)
                pod.route(address.network, POD_INTERFACE, via=gateway.ip)
                pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)


ATTACHMENT = Attachment(
    name="ptp",
    summary="no bridge: a veth pair for each pod, all with the gateway's address at the node's end",
    like=("CNI plugin ptp", "kindnet", "GKE", "Azure CNI"),
    needs=("veth",),
    delivers=Delivers.PACKETS,
    attach=_attach,
    page=__doc__,
)
