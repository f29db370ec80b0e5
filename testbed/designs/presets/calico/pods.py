"""Calico's attachment of pods: the attachment `routed` with all settings that Felix makes.

    pod eth0 10.244.0.1/32, default via 169.254.1.1 -- veth caliX node, 10.244.0.1 dev caliX

The node's end has the MAC address ee:ee:ee:ee:ee:ee. It answers ARP for every address (`proxy_arp`) without delay
(`proxy_delay` 0), and, if pods have IPv6 addresses, NDP too (`proxy_ndp`). It forwards packets, accepts those to
127.0.0.0/8 (`route_localnet`, for services of the node), and ignores router advertisements (`accept_ra` 0). As Felix
makes them, the settings of IPv4 and `accept_ra` do not depend on the addresses of the pods. An iptables rule
(`rpfilter`) checks the source of a pod's packets, not `rp_filter`. The transport adds a blackhole route for each block
of the node, which drops packets to pods that do not exist.

A node has a block of 64 addresses (/26, or /122 for IPv6). When its pods have all of them, the node gets another one,
which it releases when the last pod in it is gone. Each block has its own routes, on its node and on the others. Pods
keep their addresses, and the node's tunnel device keeps the first address of the first block.
"""

from dataclasses import replace

from testbed.designs.attachments import routed
from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import forward

_ALWAYS = {
    "ipv4/conf/{dev}/proxy_arp": 1,
    "ipv4/neigh/{dev}/proxy_delay": 0,
    "ipv4/conf/{dev}/route_localnet": 1,
    "ipv4/conf/{dev}/forwarding": 1,
    "ipv4/conf/{dev}/rp_filter": 0,
    "ipv6/conf/{dev}/accept_ra": 0,
}
_WITH_IPV6 = {"ipv6/conf/{dev}/proxy_ndp": 1, "ipv6/conf/{dev}/forwarding": 1}


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    settings = _ALWAYS | (_WITH_IPV6 if any(cidr.version == 6 for cidr in layout.pod_cidrs) else {})
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        space.sysctl("net.ipv4.ip_forward", 1)
        routed.attach_pods(draft, layout, node, mtu)
        for dev in (routed.host_end(place.pod) for place in node.pods):
            for key, value in settings.items():
                # A kernel without IPv6 has no accept_ra.
                space.sysctl(f"net/{key.format(dev=dev)}", value, optional="accept_ra" in key, dev=dev)


ATTACHMENT = replace(routed.ATTACHMENT, name="calico", attach=_attach, page=__doc__)
