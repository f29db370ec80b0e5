"""gre: inside GRE (RFC 2784), with one device per remote node.

A GRE device of the kernel connects two addresses, so a node has one per remote node and family, named after the remote
node. The GRE header adds four bytes to the outer IP header.
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

KIND = {4: TunnelKind.GRE, 6: TunnelKind.IP6GRE}
_PREFIX = {4: "gre", 6: "gre6"}
HEADERS = {family: size + 4 for family, size in IP_HEADER.items()}


def device(remote: str, family: int) -> str:
    """The device that leads to a remote node."""
    return interface_name(_PREFIX[family], remote)


def _join(joining: Joining) -> None:
    draft, layout = joining.draft, joining.layout
    for node in layout.nodes:
        space = draft[node.name]
        for remote in joining.tunnelled(node):
            for own, cidr in zip(node.pod_cidrs, remote.pod_cidrs, strict=True):
                family = cidr.version
                dev = device(remote.name, family)
                space.ip_tunnel(dev, joining.mtu, KIND[family], node.address(family), remote.address(family))
                space.address(dev, ipaddress.ip_interface(tunnel_address(own)))
                space.route(cidr, dev)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    ends = str(one.address(family)), str(other.address(family))
    return Leg(device(other.name, family), Tunnel("GRE", *ends), family)


TRANSPORT = Transport(
    name="gre",
    summary="inside GRE, one device per remote node",
    like=("Antrea and Open vSwitch with tunnel type gre",),
    needs=("gre", "ip6gre"),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=own_family_less(HEADERS),
    parameters=("mode",),
    page=__doc__,
)
