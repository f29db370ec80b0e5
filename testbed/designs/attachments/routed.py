"""routed: no bridge. Each pod has an address without neighbours, and its node a route to it: Calico's way.

    pod eth0 10.244.0.2/32, default via 169.254.1.1 -- veth caliX node, 10.244.0.2 dev caliX

The pod's next hop, 169.254.1.1, is an address that nobody has: the node answers for it, as it would for any (proxy
ARP), since it has a default route by another device. In IPv6 the next hop is the link-local address of the node's end,
which is the same for all pods, as its MAC address is. Packets between pods of one node are routed as well.

The node drops what is for a pod of its own that is not there (a blackhole of its whole share).
"""

import hashlib
from ipaddress import ip_address, ip_network

from testbed.designs.attachment import Attachment, Delivers
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import Draft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_INTERFACE, add_pod, alone
from testbed.spec.topology import Pod
from testbed.spec.types import Address

HOST_MAC = "ee:ee:ee:ee:ee:ee"
NEXT_HOP: dict[int, Address] = {4: ip_address("169.254.1.1"), 6: ip_address("fe80::ecee:eeff:feee:eeee")}
"""Of pods, by family."""


def host_end(pod: Pod) -> str:
    """The node's end of a pod's veth pair, as Calico's CNI plugin names it."""
    return "cali" + hashlib.sha1(f"{pod.namespace}.{pod.name}".encode()).hexdigest()[:11]


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        for cidr in node.pod_cidrs:
            space.blackhole(cidr)
        hang_pods(draft, layout, node, mtu)


def hang_pods(draft: Draft, layout: Layout, node: NodePlace, mtu: int) -> None:
    """Adds a node's pods, each with its veth pair and its routes."""
    space = draft[node.name]
    for place in draft.pods(node):
        name, dev = place.pod.id, host_end(place.pod)
        pod = add_pod(draft, layout, node, place)
        draft.veth((node.name, dev), (name, POD_INTERFACE), mtu, a_mac=HOST_MAC)
        if 4 in (address.version for address in place.addresses):
            space.sysctl(f"net/ipv4/conf/{dev}/proxy_arp", 1, dev=dev)
            # Or the first packet would wait for up to eight tenths of a second.
            space.sysctl(f"net/ipv4/neigh/{dev}/proxy_delay", 0, dev=dev)
            pod.route(ip_network(NEXT_HOP[4]), POD_INTERFACE)
        for address in place.addresses:
            own = alone(address)
            pod.address(POD_INTERFACE, own)
            pod.route(DEFAULT_ROUTE[own.version], POD_INTERFACE, via=NEXT_HOP[own.version])
            space.route(own.network, dev)


ATTACHMENT = Attachment(
    name="routed",
    summary="no bridge: a veth pair and a route for each pod, the node answers ARP for everybody",
    like=("Calico",),
    needs=("veth",),
    delivers=Delivers.PACKETS,
    attach=_attach,
    page=__doc__,
)
