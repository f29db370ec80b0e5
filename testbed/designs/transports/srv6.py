"""srv6: segment routing over IPv6 (RFC 8986). Each node has segments: IPv6 addresses that select an action.

A route to another node's pods encapsulates packets (H.Encaps) in an IPv6 header, whose destination is a segment of that
node, and a routing header that lists the segment. On the remote node the segment's route removes both headers and
forwards the inner packet by its destination (End.DX4 or End.DX6). A node's segments are in its locator, a range for
which the fabric's routers have a route; neighbours have a direct route. The fabric must have IPv6; pods may use either
family. The headers take 64 bytes: 40 of IPv6, 24 of routing header with one segment.
"""

import ipaddress
from collections.abc import Mapping

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Leg, Transport, others
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.fabric import UPLINK
from testbed.plan.objects import Plan, SegmentEnd, Segments, SegmentSource
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec
from testbed.spec.types import Address, Network

LOCATORS = ipaddress.IPv6Network("fc00:5::/32")
"""The range of the locators, one /64 per node."""
HEADERS = 40 + 24
_ACTION: dict[int, SegmentEnd] = {4: SegmentEnd("End.DX4"), 6: SegmentEnd("End.DX6")}


def locator(node: NodePlace) -> ipaddress.IPv6Network:
    """The range of a node's segments."""
    return ipaddress.IPv6Network((int(LOCATORS.network_address) + (node.number + 1 << 64), 64))


def segment(node: NodePlace, family: int) -> Address:
    """The node's segment for packets of that family."""
    return locator(node)[family]


def _join(joining: Joining) -> None:
    draft, layout = joining.draft, joining.layout
    families = sorted({cidr.version for cidr in layout.pod_cidrs})
    for node in layout.nodes:
        space = draft[node.name]
        space.add(SegmentSource(node.address(6)))
        for scope in ("all", "default"):
            space.sysctl(f"net.ipv6.conf.{scope}.seg6_enabled", 1)
        for family in families:
            own = ipaddress.ip_network(segment(node, family))
            space.route(own, UPLINK, encap=_ACTION[family])
        for remote in others(layout, node):
            if layout.are_neighbours(node, remote):
                space.route(locator(remote), UPLINK, via=remote.address(6))
        for remote in joining.tunnelled(node):
            for cidr in remote.pod_cidrs:
                # Routers have routes to the address on the loopback device, not to those of the links.
                has_own = node.is_on_loopback and cidr.version in layout.fabric_families
                source = node.address(cidr.version) if has_own else None
                space.route(cidr, UPLINK, encap=Segments((segment(remote, cidr.version),)), source=source)


def _carried(layout: Layout) -> Mapping[str, tuple[Network, ...]]:
    return {node.name: (locator(node),) for node in layout.nodes}


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    return Leg("", Tunnel("SRv6", str(one.address(6)), str(segment(other, family))), 6)


TRANSPORT = Transport(
    name="srv6",
    summary="inside IPv6 with a segment routing header",
    like=("Cilium with SRv6", "Calico VPP with SRv6"),
    needs=("seg6",),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=lambda fabric_mtu, _: fabric_mtu - HEADERS,
    parameters=("mode",),
    carried=_carried,
    any_family=True,
    outer_families=(6,),
    page=__doc__,
)
