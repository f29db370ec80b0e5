"""Calico with IP in IP between all nodes (`ipipMode: Always`), the smallest tunnel.

The tunnel device is `tunl0`, which the kernel's IP in IP module creates in each network namespace, without tunnel ends.
The next hop of a route is the tunnel end, although it is a node's address on the fabric (`onlink`). The device has the
first address of the node's first block. Nodes announce their blocks by BGP in a full mesh, as in `calico-bgp`. Packets
grow by 20 bytes. The fabric sees only packets between nodes, so it may have several subnets.

    10.244.0.64/26 via 192.168.56.2 dev tunl0 proto bird onlink
    blackhole 10.244.0.0/26 proto bird

IP in IP is for IPv4 only. Calico's IPv6 pools have no such mode: their packets are not encapsulated, so with IPv6 all
nodes must be in one subnet.

    ip -d link show tunl0
    ip route show proto bird
    birdc show route table tunnels4            the next hops, all on tunl0
    iptables -S cali-INPUT; ipset list cali40all-hosts-net

Unlike Calico's BIRD, Debian's has no setting for the tunnel of a route (`krt_tunnel`): next hops are resolved in a
separate table, `tunnels4`, in which each node's address is on tunl0. The routes are the same.
Unlike Calico from v3.33 on, where Felix writes these routes, BIRD writes them, as in earlier versions. This shows how
they are withdrawn when a node's BIRD ends.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from testbed.designs.attachment import Delivers
from testbed.designs.bgp import TunnelHop
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.presets.calico.firewall import Tunnels
from testbed.designs.transport import Joining, Leg, Transport, others, straight
from testbed.designs.transports.overlay import IP_HEADER, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Plan, Route, TunnelKind
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

DEVICE = "tunl0"


def _join(joining: Joining) -> None:
    layout = joining.layout
    speakers = sessions.mesh(layout)
    if 4 not in sessions.families(layout):
        bird.speak(joining, speakers, learned.by_neighbours)
        return
    for node in layout.nodes:
        hops = tuple(TunnelHop(other.address(4), DEVICE) for other in others(layout, node))
        speakers[node.name] = replace(speakers[node.name], tunnel_hops=hops)
        space = joining.draft[node.name]
        space.ip_tunnel(DEVICE, joining.mtu, TunnelKind.IPIP, None)
        for block in node.pod_cidrs:
            if block.version == 4:
                space.address(DEVICE, ipaddress.ip_interface(tunnel_address(block)))
    bird.speak(joining, speakers, _learned_routes)


def _learned_routes(layout: Layout, node: NodePlace) -> Iterator[Route]:
    yield from learned.by_tunnel(layout, node, 4, DEVICE)
    yield from (route for route in learned.by_neighbours(layout, node) if route.to.version == 6)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    if family == 6:
        return straight(family)
    return Leg(DEVICE, Tunnel("IP in IP", str(one.address(4)), str(other.address(4))), 4)


def _room(fabric_mtu: int, layout: Layout) -> int:
    return fabric_mtu - (IP_HEADER[4] if 4 in sessions.families(layout) else 0)


PRESET = felix.preset(
    "calico-ipip",
    Transport(
        name="bgp-ipip",
        summary="inside an additional IPv4 header (IP in IP), blocks announced by BGP; IPv6 unencapsulated",
        like=("Calico IPIP",),
        needs=("ipip",),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        leg=_leg,
        room=_room,
        one_subnet_of=(6, bird.DIRECT),
        page="Routes through one tunnel device, announced by BGP in a full mesh.",
    ),
    "Calico: blocks announced by BGP, IPv4 packets inside IP in IP",
    pages.whole(__doc__, bird.UNLIKE),
    tunnels=Tunnels(has_ipip=True, devices=((4, DEVICE),)),
)
