"""Calico without encapsulation, with the fabric's routers as peers: so each rack's router, and by it the whole fabric,
knows where pods are.

Each node speaks BGP with the routers on its links (`Global_<address>`), and not with other nodes. Nodes are in AS
64512, routers in one of their own each, from 4200000000 on, and routers speak with the routers next to them: as in RFC
7938, the fabric has no other routing protocol for pods, and the way with the fewest routers is taken. Where several are
equal, flows are shared out among them, on routers and on nodes with several links.

    node     10.244.0.64/26 via 192.168.0.254 dev eth0 proto bird          in another rack, by the rack's router
             10.244.0.128/26 via 192.168.0.2 dev eth0 proto bird           in the same rack, straight
    leaf     10.244.0.64/26 proto bird
                 nexthop via 172.31.0.1 dev to-spine1
                 nexthop via 172.31.0.3 dev to-spine2

In the same rack packets do not go through the router, since it hands the next hop on where it is on the Ethernet that
it tells of it (RFC 4271, 5.1.3). As all nodes are in one autonomous system, each has to accept routes that have passed
its own before (Calico's `numAllowedLocalASNumbers: 1`).

    birdc show protocols                       on node1, and on leaf1
    birdc show route all for 10.244.0.64/26    BGP.as_path tells the routers on the way
    ip route show proto bird
    cat /run/bird/bird.conf
"""

from testbed.designs.attachment import Delivers
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.transport import Joining, Transport
from testbed.plan.objects import LearnedRoute


def _join(joining: Joining) -> None:
    layout = joining.layout
    bird.speak(joining, sessions.with_routers(layout), learned.of_nodes_with_routers)
    for router in layout.routers:
        for route in learned.of_router(layout, router.name):
            joining.draft[router.name].add(LearnedRoute(route))


PRESET = felix.preset(
    "calico-bgp-tor",
    Transport(
        name="bgp-routers",
        summary="nodes tell the fabric's routers their blocks by BGP, and routers each other",
        like=("Calico peering with top-of-rack routers",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        needs_router=True,
        page="BGP sessions of nodes with the routers on their links, and between routers.",
    ),
    "Calico: blocks told by BGP to the fabric's routers, which tell each other",
    pages.whole(__doc__, bird.UNLIKE),
)
