"""Calico with VXLAN between all nodes (`vxlanMode: Always`), without BGP.

Each node has one device, `vxlan.calico`, with VNI 4096 and UDP port 4789. Its address is the first of the node's first
block; its MAC address is 66 and five bytes of the SHA-1 of the node's name. It learns nothing; Felix writes all entries
for each other node:

    10.244.0.64/26 via 10.244.0.64 dev vxlan.calico proto 80 onlink
    10.244.0.64 dev vxlan.calico lladdr 66:... PERMANENT
    66:... dev vxlan.calico dst 192.168.56.2 self permanent

One route for each block of a node reaches its pods, a permanent neighbour entry resolves the node's tunnel address, and
an FDB entry locates the MAC address. IPv6 has the same entries on `vxlan-v6.calico`, over IPv6. Packets grow by 50
bytes, and by 70 over IPv6. VXLAN packets are not tracked by conntrack (`raw`), and accepted only from nodes.

    ip -d link show vxlan.calico
    ip route show proto 80
    bridge fdb show dev vxlan.calico
    iptables-save -t raw; ipset list cali40all-vxlan-net
"""

from testbed.designs.attachment import Delivers
from testbed.designs.presets.calico import felix
from testbed.designs.presets.calico.firewall import Tunnels
from testbed.designs.transport import Joining, Transport, others, own_family_less
from testbed.designs.transports.overlay import VXLAN_HEADERS


def _join(joining: Joining) -> None:
    for node in joining.layout.nodes:
        space = joining.draft[node.name]
        for block in node.ranges:
            space.blackhole(block, felix.PROTOCOL)
        felix.vxlan(joining, node)
        for remote in others(joining.layout, node):
            felix.reach_by_vxlan(space, remote)


PRESET = felix.preset(
    "calico-vxlan",
    Transport(
        name="felix-vxlan",
        summary="inside UDP (VXLAN), all entries written by Felix",
        like=("Calico VXLAN",),
        needs=("vxlan",),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        leg=felix.vxlan_leg,
        room=own_family_less(VXLAN_HEADERS),
        page="One VXLAN device per node and family; a route, a neighbour and an FDB entry for each other node.",
    ),
    "Calico: a route for each pod, VXLAN between all nodes, no BGP",
    __doc__,
    programs=(),
    tunnels=Tunnels(vxlan_port=felix.VXLAN_PORT, devices=tuple(felix.VXLAN.items())),
)
