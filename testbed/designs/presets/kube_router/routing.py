"""BGP between all nodes; learned routes lead directly to neighbours, and through tunnels to other nodes."""

import hashlib
from dataclasses import dataclass
from ipaddress import ip_network

from testbed.designs import bgp
from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Leg, Transport, others, straight
from testbed.designs.transports.overlay import IP_HEADER
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.fabric import UPLINK
from testbed.plan.objects import BIRD, LearnedRoute, Plan, Route, RoutingRule, TunnelKind
from testbed.plan.pods import POD_BRIDGE
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec
from testbed.spec.types import Address

ASN = 64512
TABLE = 77
TABLE_NAMES = "/etc/iproute2/rt_tables"
"""Names of routing tables; kube-router appends that of its own."""
_RESERVED = "#\n# reserved values\n#\n255\tlocal\n254\tmain\n253\tdefault\n0\tunspec\n"
PRIORITY = 32765
"""The default of `ip rule add`: just before the main table's rule."""


def tunnel_name(node: Address) -> str:
    """The name of the tunnel device to a node: 11 digits of the hash of its address's digits."""
    digits = str(node).replace(".", "").replace(":", "")
    return f"tun-{hashlib.sha256(digits.encode()).hexdigest()[:11]}"


def run(space: SpaceDraft, layout: Layout, node: NodePlace, overlay: "Overlay") -> None:
    """Adds BIRD with sessions to all other nodes, and the routes that it is expected to write to the kernel."""
    peers = []
    for remote in others(layout, node):
        beyond = overlay.is_between(layout, node, remote)
        for family in sorted(cidr.version for cidr in node.pod_cidrs):
            own, there = node.address(family), remote.address(family)
            name = bgp.session_name("Node", there)
            device = tunnel_name(there) if beyond else ""
            passive = remote.number < node.number
            peers.append(bgp.Peer(name, own, there, ASN, passive, device=device, source=own if beyond else None))
        for cidr in remote.pod_cidrs:
            own, there = node.address(cidr.version), remote.address(cidr.version)
            if beyond:
                space.add(LearnedRoute(Route(cidr, tunnel_name(there), source=own, protocol=BIRD)))
            else:
                space.add(LearnedRoute(Route(cidr, UPLINK, via=there, protocol=BIRD)))
    speaker = bgp.Speaker(
        router_id=bgp.router_id([address.ip for address in node.addresses], node.serial),
        asn=ASN,
        pools=layout.pod_cidrs,
        peers=tuple(peers),
        blocks=node.pod_cidrs,
        drops_rest=False,
        pod_devices=POD_BRIDGE,
    )
    bgp.run(space, speaker)


@dataclass(frozen=True)
class Overlay:
    """The pairs of nodes with tunnels between them: kube-router's `--overlay-type`."""

    is_full: bool = False
    """Whether also between neighbours."""

    def is_between(self, layout: Layout, one: NodePlace, other: NodePlace) -> bool:
        return self.is_full or not layout.are_neighbours(one, other)

    def is_anywhere(self, layout: Layout) -> bool:
        return self.is_full or not layout.is_one_subnet

    def join(self, joining: Joining) -> None:
        """Adds tunnels, the table with routes to nodes through them, and the rule that selects it for pods' packets."""
        layout = joining.layout
        for node in layout.nodes:
            space = joining.draft[node.name]
            space.file(TABLE_NAMES, f"{_RESERVED}{TABLE} kube-router\n")
            for cidr in node.pod_cidrs:
                space.add(RoutingRule(PRIORITY, cidr.version, TABLE, source=cidr))
            for remote in others(layout, node):
                for family in (cidr.version for cidr in node.pod_cidrs):
                    if self.is_between(layout, node, remote):
                        own, there = node.address(family), remote.address(family)
                        kind = TunnelKind.IPIP if family == 4 else TunnelKind.IP6TNL
                        dev = tunnel_name(there)
                        space.ip_tunnel(dev, joining.mtu, kind, own, there)
                        space.route(ip_network(there), dev, table=TABLE)

    def leg(
        self, plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int
    ) -> Leg:
        if not self.is_between(layout, one, other):
            return straight(family)
        there = other.address(family)
        return Leg(tunnel_name(there), Tunnel("IP in IP", str(one.address(family)), str(there)), family)

    def room(self, fabric_mtu: int, layout: Layout) -> int:
        headers = max(IP_HEADER[cidr.version] for cidr in layout.pod_cidrs)
        return fabric_mtu - headers if self.is_anywhere(layout) else fabric_mtu

    def needs_there(self, layout: Layout) -> tuple[str, ...]:
        """Tunnels, if there are any."""
        named = {4: "ipip", 6: "ip6tnl"}
        return tuple(named[cidr.version] for cidr in layout.pod_cidrs) if self.is_anywhere(layout) else ()


def transport(overlay: Overlay) -> Transport:
    """kube-router's transport, with the tunnels of this overlay."""
    return Transport(
        name="kube-router",
        summary="by routes announced by BGP, inside IP in IP if a router is between nodes",
        like=("kube-router",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=overlay.join,
        leg=overlay.leg,
        room=overlay.room,
        needs_there=overlay.needs_there,
        page=__doc__,
    )
