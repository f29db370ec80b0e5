"""ipip: IP in IP (RFC 2003; RFC 2473 for IPv6), the smallest tunnel there is: one more IP header.

One device a node for each family, `ipip0` and `ip6ip60`, without a remote end of its own: a route's next hop is the
other end, the remote node's address on the fabric. Each carries packets of its own family alone.
"""

import ipaddress

from testbed.designs.attachment import Hands
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    others,
    own_family_less,
    route_straight,
    skips,
    straight,
)
from testbed.designs.transports.overlay import IP_HEADER, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Plan, TunnelKind
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

DEVICE = {4: "ipip0", 6: "ip6ip60"}
KIND = {4: TunnelKind.IPIP, 6: TunnelKind.IP6TNL}


def _join(joining: Joining) -> None:
    draft, layout, options = joining.draft, joining.layout, joining.options
    for node in layout.nodes:
        space = draft[node.name]
        for cidr in node.pod_cidrs:
            family = cidr.version
            space.ip_tunnel(DEVICE[family], joining.mtu, KIND[family], node.address(family))
            space.address(DEVICE[family], ipaddress.ip_interface(tunnel_address(cidr)))
        for remote in others(layout, node):
            if skips(layout, options, node, remote):
                route_straight(draft, node, remote)
                continue
            for cidr in remote.pod_cidrs:
                space.route(cidr, DEVICE[cidr.version], via=remote.address(cidr.version), onlink=True)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    if skips(layout, options, one, other):
        return straight(family)
    ends = str(one.address(family)), str(other.address(family))
    return Leg(DEVICE[family], Tunnel("IP in IP", *ends), family)


TRANSPORT = Transport(
    name="ipip",
    summary="inside one more IP header (IP in IP)",
    like=("Calico IPIP", "Flannel ipip", "kube-router across subnets"),
    needs=("ipip", "ip6tnl"),
    takes=frozenset({Hands.PACKETS}),
    join=_join,
    leg=_leg,
    room=own_family_less(IP_HEADER),
    parameters=("mode",),
    page=__doc__,
)
