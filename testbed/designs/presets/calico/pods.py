"""Calico's attachment of pods: the attachment `routed` with all settings that Felix makes.

    pod eth0 10.244.0.1/32, default via 169.254.1.1 -- veth caliX node, 10.244.0.1 dev caliX

The node's end has the MAC address ee:ee:ee:ee:ee:ee. It answers ARP and NDP for every address (`proxy_arp`,
`proxy_ndp`) without delay (`proxy_delay` 0). It forwards packets, accepts those to 127.0.0.0/8 (`route_localnet`, for
services of the node), and ignores router advertisements. An iptables rule (`rpfilter`) checks the source of a pod's
packets, not `rp_filter`. The transport adds the blackhole route of the block, which drops packets to pods that do not
exist.
"""

from dataclasses import replace

from testbed.designs.attachments import routed
from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import forward

_OF_4 = {"route_localnet": 1, "forwarding": 1, "rp_filter": 0}
_OF_6 = {"proxy_ndp": 1, "forwarding": 1, "accept_ra": 0}


def _attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
    families = {cidr.version for cidr in layout.pod_cidrs}
    for node in draft.nodes:
        space = draft[node.name]
        forward(space, layout)
        routed.attach_pods(draft, layout, node, mtu)
        for dev in (routed.host_end(place.pod) for place in node.pods):
            for family, settings in ((4, _OF_4), (6, _OF_6)):
                for name, value in settings.items() if family in families else ():
                    space.sysctl(f"net/ipv{family}/conf/{dev}/{name}", value, dev=dev)


ATTACHMENT = replace(routed.ATTACHMENT, name="calico", attach=_attach, page=__doc__)
