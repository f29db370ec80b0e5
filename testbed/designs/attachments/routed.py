"""routed: no bridge. Each pod has a /32 or /128 address, and its node a route to it, as with Calico.

    pod eth0 10.244.0.2/32, default via 169.254.1.1 -- veth caliX node, 10.244.0.2 dev caliX

The pod's next hop, 169.254.1.1, is not assigned to any device. The node answers ARP for every address (proxy ARP),
because its default route uses another device. For IPv6 the next hop is the link-local address of the node's end, which
is the same for all pods, as is its MAC address. Packets between pods of one node are routed too.

A blackhole route for the node's share drops packets to pods that do not exist.
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
"""Next hop of pods, by family."""


def host_end(pod: Pod) -> str:
    """The node's end of a pod's veth pair, as Calico's CNI plugin names it."""
    return "cali" + hashlib.sha1(f"{pod.namespace}.{pod.name}".encode()).hexdigest()[:11]


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        for cidr in node.pod_cidrs:
            space.blackhole(cidr)
        attach_pods(draft, layout, node, mtu)


def attach_pods(draft: Draft, layout: Layout, node: NodePlace, mtu: int) -> None:
    """Adds a node's pods with their veth pairs and routes."""
    space = draft[node.name]
    for place in draft.pods(node):
        name, dev = place.pod.id, host_end(place.pod)
        pod = add_pod(draft, layout, node, place)
        draft.veth((node.name, dev), (name, POD_INTERFACE), mtu, a_mac=HOST_MAC)
        if 4 in (address.version for address in place.addresses):
            space.sysctl(f"net/ipv4/conf/{dev}/proxy_arp", 1, dev=dev)
            # Otherwise the first packet is delayed by up to 0.8 s.
            space.sysctl(f"net/ipv4/neigh/{dev}/proxy_delay", 0, dev=dev)
            pod.route(ip_network(NEXT_HOP[4]), POD_INTERFACE)
        for address in place.addresses:
            own = alone(address)
            pod.address(POD_INTERFACE, own)
            pod.route(DEFAULT_ROUTE[own.version], POD_INTERFACE, via=NEXT_HOP[own.version])
            space.route(own.network, dev)


ATTACHMENT = Attachment(
    name="routed",
    summary="no bridge: a veth pair and a route for each pod; the node answers ARP for all addresses",
    like=("Calico",),
    needs=("veth",),
    delivers=Delivers.PACKETS,
    attach=_attach,
    page=__doc__,
)
