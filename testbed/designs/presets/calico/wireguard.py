"""Calico with WireGuard: traffic between pods of different nodes is encrypted.

Each node has a device `wireguard.cali` with every other node as a peer on UDP port 51820, for the peer's blocks. The
main table has the routes of `calico-bgp`, announced in a full mesh. Before the main table, a rule of priority 99 sends
all packets to table 1, in which Felix has a route to each block through the device. Packets that are already encrypted
have a mark from the device and skip the rule.

    99: not from all fwmark 0x200000/0x200000 lookup 1
    10.244.0.64/26 dev wireguard.cali proto 80 scope link              in table 1
    10.244.0.64/26 via 192.168.56.2 dev eth0 proto bird                in the main table, not used

Nodes in other subnets are also reached; BIRD's route to their blocks then has the next hop of the default route, which
would not lead to the pods. Packets between nodes themselves are not encrypted. Packets of pods grow by 60 bytes, and by
80 over IPv6, which has a separate device, port and table: `wg-v6.cali`, 51821, 2.

    wg show                                     peers, their endpoints and latest handshakes
    ip rule; ip route show table 1
    birdc show protocols; ip route show proto bird

Unlike Felix, which adds `throw` routes for the node's own addresses to table 1, the preset has none; they matter only
if a node's pods have addresses from another node's block.
Unlike in a cluster, each peer may also send from its node's own address, which processes on nodes use in answers.
"""

import ipaddress

from testbed.designs.attachment import Delivers
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.presets.calico.firewall import Tunnels
from testbed.designs.transport import Joining, Leg, Transport, others, own_family_less
from testbed.designs.transports.overlay import UDP_HEADERS, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Plan, Route, RoutingRule, WireguardPeer
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec
from testbed.spec.types import Network

DEVICE = {4: "wireguard.cali", 6: "wg-v6.cali"}
PORT = {4: 51820, 6: 51821}
TABLE = {4: 1, 6: 2}
MARK, PRIORITY = 0x200000, 99
HEADERS = {family: size + 32 for family, size in UDP_HEADERS.items()}


def _join(joining: Joining) -> None:
    for node in joining.layout.nodes:
        for block in node.pod_cidrs:
            _encrypt(joining, node, block)
    bird.speak(joining, sessions.mesh(joining.layout), _learned_routes)


def _learned_routes(layout: Layout, node: NodePlace) -> tuple[Route, ...]:
    return (*learned.by_neighbours(layout, node), *learned.by_default_route(layout, node))


def _encrypt(joining: Joining, node: NodePlace, own: Network) -> None:
    """Adds the device of one family, and the table with the routes through it."""
    space, family = joining.draft[node.name], own.version
    dev, table = DEVICE[family], TABLE[family]
    peers: list[WireguardPeer] = []
    routes: list[Network] = []
    for remote in others(joining.layout, node):
        blocks, there = remote.ranges_of(family), remote.address(family)
        peers.append(WireguardPeer(remote.name, there, (*blocks, ipaddress.ip_network(there))))
        routes += blocks
    space.wireguard(dev, joining.mtu, PORT[family], peers, MARK)
    space.address(dev, ipaddress.ip_interface(tunnel_address(own)))
    for block in routes:
        space.route(block, dev, table=table, protocol=felix.PROTOCOL)
    space.add(RoutingRule(PRIORITY, 4 if family == 4 else 6, table, mark=MARK, mask=MARK, inverted=True))
    if family == 4:
        # Otherwise the reverse path lookup ignores the mark of encrypted packets.
        space.sysctl("net.ipv4.conf.all.src_valid_mark", 1)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    ends = str(one.address(family)), str(other.address(family))
    return Leg(DEVICE[family], Tunnel("WireGuard", *ends, PORT[family], is_opaque=True), family)


PRESET = felix.preset(
    "calico-wireguard",
    Transport(
        name="bgp-wireguard",
        summary="inside WireGuard, encrypted, by a separate routing table; blocks announced by BGP",
        like=("Calico with WireGuard",),
        needs=("wireguard",),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        leg=_leg,
        room=own_family_less(HEADERS),
        page="A rule before the main table sends packets for other nodes' blocks through WireGuard.",
    ),
    "Calico: traffic between pods of different nodes encrypted by WireGuard",
    pages.whole(__doc__, bird.UNLIKE),
    programs=(*felix.BGP, "wg"),
    tunnels=Tunnels(wireguard_ports=tuple(PORT.items()), devices=tuple(DEVICE.items())),
)
