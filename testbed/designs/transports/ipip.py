"""ipip: IP in IP (RFC 2003; RFC 2473 for IPv6), the smallest tunnel: one additional IP header.

For IPv4 a node has one device, `ipip0`, without a remote end: the next hop of a route is the tunnel end, the remote
node's address on the fabric. IPv6 does not accept a next hop on another link, so a node has one device per remote node,
named after it. Each device carries only packets of its own family.
"""

import ipaddress

from testbed.designs.attachment import Delivers
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    own_family_less,
)
from testbed.designs.transports.overlay import IP_HEADER, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.naming import interface_name
from testbed.plan.objects import Plan, TunnelKind
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

DEVICE = "ipip0"


def device(remote: NodePlace, family: int, name: str = DEVICE) -> str:
    """The device for packets to a remote node; `name` is that of the IPv4 device."""
    return name if family == 4 else interface_name("ip6", remote.name)


def join(joining: Joining, name: str = DEVICE) -> None:
    """Adds the devices and the routes through them."""
    draft, layout = joining.draft, joining.layout
    for node in layout.nodes:
        space = draft[node.name]
        addresses = {cidr.version: ipaddress.ip_interface(tunnel_address(cidr)) for cidr in node.pod_cidrs}
        if 4 in addresses:
            space.ip_tunnel(name, joining.mtu, TunnelKind.IPIP, node.address(4))
            space.address(name, addresses[4])
        for remote in joining.tunnelled(node):
            for cidr in remote.pod_cidrs:
                dev, there = device(remote, cidr.version, name), remote.address(cidr.version)
                if cidr.version == 6:
                    space.ip_tunnel(dev, joining.mtu, TunnelKind.IP6TNL, node.address(6), there)
                    space.address(dev, addresses[6])
                    space.route(cidr, dev)
                else:
                    space.route(cidr, dev, via=there, onlink=True)


def leg(
    plan: Plan,
    layout: Layout,
    options: TransportSpec,
    one: NodePlace,
    other: NodePlace,
    family: int,
    name: str = DEVICE,
) -> Leg:
    """The tunnel between the nodes' addresses on the fabric."""
    ends = str(one.address(family)), str(other.address(family))
    return Leg(device(other, family, name), Tunnel("IP in IP", *ends), family)


TRANSPORT = Transport(
    name="ipip",
    summary="inside an additional IP header (IP in IP)",
    like=("Calico IPIP", "Flannel ipip", "kube-router across subnets"),
    needs=("ipip", "ip6tnl"),
    takes=frozenset({Delivers.PACKETS}),
    join=join,
    leg=leg,
    room=own_family_less(IP_HEADER),
    parameters=("mode",),
    page=__doc__,
)
