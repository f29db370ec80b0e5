"""vxlan-learning: VXLAN with flood and learn (RFC 7348).

Tunnel ends have no entries for each other's addresses. Broadcast frames, such as ARP requests, are sent to all tunnel
ends: as one copy each (`flood: head-end`, a list of nodes), or to a multicast group that they have joined (`flood:
multicast`, within one subnet). From the frames that they receive they learn which MAC address is behind which node.

With flat-bridge the device is a port of the bridge, and pods of all nodes share one Ethernet.
"""

import ipaddress

from testbed.designs.attachment import Delivers
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    less,
    others,
    outer_families,
    outer_family,
)
from testbed.designs.transports.overlay import VXLAN_HEADERS, carried_by, frame_tunnel, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.fabric import UPLINK
from testbed.plan.objects import Plan
from testbed.plan.pods import POD_BRIDGE
from testbed.plan.shell import FLOODED
from testbed.spec.design import TransportSpec
from testbed.spec.types import Address

VNI = 42
PORT = 4789
"""Assigned by IANA."""
DEVICE = {4: "vxlan0", 6: "vxlan0-v6"}
"""Device by outer family."""
GROUP: dict[int, Address] = {4: ipaddress.ip_address("239.1.1.1"), 6: ipaddress.ip_address("ff05::100")}
MULTICAST = "multicast"


def _join(joining: Joining) -> None:
    draft, layout, options = joining.draft, joining.layout, joining.options
    flat = joining.delivers is Delivers.FRAMES
    families = outer_families(layout)[:1] if flat else outer_families(layout)
    multicast = options.flood == MULTICAST
    for node in layout.nodes:
        space = draft[node.name]
        for family in families:
            space.vxlan(
                DEVICE[family],
                joining.mtu,
                options.vni or VNI,
                options.port or PORT,
                node.address(family),
                learning=True,
                group=GROUP[family] if multicast else None,
                dev=UPLINK if multicast else "",
                master=POD_BRIDGE if flat else None,
            )
            for remote in others(layout, node):
                if not multicast:
                    space.fdb(FLOODED, DEVICE[family], remote.address(family))
        if flat:
            continue
        for cidr in node.pod_cidrs:
            own = ipaddress.ip_interface(tunnel_address(cidr))
            space.address(DEVICE[outer_family(cidr.version, layout)], own)
        for remote in joining.tunnelled(node):
            for cidr in remote.pod_cidrs:
                dev = DEVICE[outer_family(cidr.version, layout)]
                space.route(cidr, dev, via=tunnel_address(cidr), onlink=True)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    outer = carried_by(plan, one, DEVICE, outer_family(family, layout))
    kind = f"VXLAN {options.vni or VNI}"
    return frame_tunnel(plan, DEVICE[outer], kind, options.port or PORT, outer, one, other)


TRANSPORT = Transport(
    name="vxlan-learning",
    summary="inside UDP (VXLAN), with flood and learn",
    like=("RFC 7348", "OpenStack's linuxbridge networks", "Weave Net (similar, with flat-bridge)"),
    needs=("vxlan",),
    takes=frozenset({Delivers.PACKETS, Delivers.FRAMES}),
    join=_join,
    leg=_leg,
    room=less(VXLAN_HEADERS),
    parameters=("port", "vni", "mode", "flood"),
    any_family=True,
    page=__doc__,
)
