"""Calico with encapsulation only where it is needed (`vxlanMode: CrossSubnet`): across subnets.

To pods of nodes in the own subnet BIRD's route leads straight, by way of the node that has them; to those in other
subnets, whose routers do not know pods, Felix' one by the tunnel, `vxlan.calico`. All nodes speak BGP with each other
in a full mesh, across the routers too, and BIRD leaves out of the kernel what has a next hop that is no neighbour.

    10.244.0.128/26 via 192.168.0.2 dev eth0 proto bird
    10.244.0.64/26 via 10.244.0.64 dev vxlan.calico proto 80 onlink
    blackhole 10.244.0.0/26 proto bird

Packets may be as large as the tunnel takes, within a subnet as well. All about the tunnel is on the page of
`calico-vxlan`, all about BGP on that of `calico-bgp`.

    ip route show proto bird; ip route show proto 80
    birdc show route where source = RTS_BGP           all blocks, also those that the kernel has from Felix
    bridge fdb show dev vxlan.calico

Unlike in Calico of today, where Felix writes the routes within the subnet as well, these are BIRD's, as without
encapsulation: so that both ways are there to be compared, and what it means when BIRD ends.
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
        summary="as it is within a subnet, blocks told by BGP; inside UDP (VXLAN) across subnets",
        like=("Calico VXLANCrossSubnet",),
        needs=("vxlan",),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        leg=felix.vxlan_leg,
        room=own_family_less(VXLAN_HEADERS),
        page="Routes by neighbours are told by BGP, those by the tunnel's device by Felix.",
    ),
    "Calico: blocks told by BGP within a subnet, VXLAN across subnets",
    pages.whole(__doc__, bird.UNLIKE),
    mode=CROSS_SUBNET,
    tunnels=Tunnels(vxlan_port=felix.VXLAN_PORT, devices=tuple(felix.VXLAN.items())),
)
