"""Calico with encapsulation only across subnets (`vxlanMode: CrossSubnet`).

To pods of nodes in the same subnet, BIRD's routes lead directly to these nodes. To pods in other subnets, whose routers
have no routes to pods, Felix' routes lead through the tunnel, `vxlan.calico`. All nodes are in a full mesh of BGP, also
across the routers; BIRD does not write routes to the kernel whose next hop is not a neighbour.

    10.244.0.128/26 via 192.168.0.2 dev eth0 proto bird
    10.244.0.64/26 via 10.244.0.64 dev vxlan.calico proto 80 onlink
    blackhole 10.244.0.0/26 proto bird

Pods have the MTU of the tunnel, also within a subnet. The page of `calico-vxlan` describes the tunnel, that of
`calico-bgp` the sessions.

    ip route show proto bird; ip route show proto 80
    birdc show route where source = RTS_BGP           all blocks, also those that the kernel has from Felix
    bridge fdb show dev vxlan.calico

Unlike in current Calico, where Felix also writes the routes within the subnet, BIRD writes them here, as without
encapsulation. This allows comparing both, and shows the effect when BIRD ends.
"""

from dataclasses import replace

from testbed.designs.attachment import Delivers
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.presets.calico.firewall import Tunnels
from testbed.designs.transport import CROSS_SUBNET, Joining, Transport, others, own_family_less
from testbed.designs.transports.overlay import VXLAN_HEADERS


def _join(joining: Joining) -> None:
    layout = joining.layout
    speakers = sessions.mesh(layout)
    for node in layout.nodes:
        near = layout.subnet_of(node)
        speakers[node.name] = replace(speakers[node.name], only_near=near)
        felix.vxlan(joining, node)
        for remote in others(layout, node):
            if not layout.are_neighbours(node, remote):
                felix.reach_by_vxlan(joining.draft[node.name], remote)
    bird.speak(joining, speakers, learned.by_neighbours)


PRESET = felix.preset(
    "calico-cross-subnet",
    Transport(
        name="bgp-vxlan",
        summary="blocks announced by BGP within a subnet, inside UDP (VXLAN) across subnets",
        like=("Calico VXLANCrossSubnet",),
        needs=("vxlan",),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        leg=felix.vxlan_leg,
        room=own_family_less(VXLAN_HEADERS),
        page="Routes via neighbours come from BGP, those through the tunnel's device from Felix.",
    ),
    "Calico: blocks announced by BGP within a subnet, VXLAN across subnets",
    pages.whole(__doc__, bird.UNLIKE),
    mode=CROSS_SUBNET,
    tunnels=Tunnels(vxlan_port=felix.VXLAN_PORT, devices=tuple(felix.VXLAN.items())),
)
