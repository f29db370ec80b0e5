"""Calico without encapsulation, with the fabric's routers as BGP peers, so that the whole fabric has routes to pods.

Each node has sessions with the routers on its links (`Global_<address>`), not with other nodes. Nodes are in AS 64512;
each router has its own AS, from 4200000000 on, and has sessions with adjacent routers. As in RFC 7938, BGP is the only
routing protocol for pods, and the path with the fewest routers is used. Flows are distributed over equal paths, on
routers and on nodes with several links.

    node     10.244.0.64/26 via 192.168.0.254 dev eth0 proto bird          in another rack, via the rack's router
             10.244.0.128/26 via 192.168.0.2 dev eth0 proto bird           in the same rack, directly
    leaf     10.244.0.64/26 proto bird
                 nexthop via 172.31.0.1 dev to-spine1
                 nexthop via 172.31.0.3 dev to-spine2

In the same rack packets do not go through the router: it keeps the next hop if that is on the Ethernet on which it
announces the route (RFC 4271, 5.1.3). As all nodes are in one AS, each must accept routes whose AS path contains its
own AS (Calico's `numAllowedLocalASNumbers: 1`).

    birdc show protocols                       on node1, and on leaf1
    birdc show route all for 10.244.0.64/26    BGP.as_path lists the routers on the path
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
        summary="blocks announced by BGP to the fabric's routers, and between routers",
        like=("Calico peering with top-of-rack routers",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        needs_router=True,
        page="BGP sessions of nodes with the routers on their links, and between routers.",
    ),
    "Calico: blocks announced by BGP to the fabric's routers",
    pages.whole(__doc__, bird.UNLIKE),
)
