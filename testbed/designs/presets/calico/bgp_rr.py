"""Calico without encapsulation, with route reflectors instead of the full mesh.

The first two nodes are route reflectors (with two nodes only the first). They have a session, `Node_<address>`, with
every node and pass routes from one node to all others (RFC 4456); otherwise BGP within an autonomous system requires a
full mesh. Other nodes have sessions with the reflectors only. The reflectors are one cluster, 244.0.0.1, so they do not
pass on routes from each other. If one reflector fails, only the routes to its own pods are lost.

Reflectors do not change next hops: routes are those of the full mesh, and packets go directly from node to node.

    10.244.0.64/26 via 192.168.56.2 dev eth0 proto bird

    birdc show protocols                              on a reflector one session per node, on other nodes two
    birdc show route all for 10.244.0.64/26           BGP.originator_id and BGP.cluster_list show the reflection
    ip route show proto bird
    cat /run/bird/bird.conf

Unlike in a cluster, where nodes with a label are chosen as reflectors (`peerSelector: route-reflector == 'true'`, and
the node's `routeReflectorClusterID`), nodes have no labels here, so the first ones are chosen.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.transport import Joining, Transport


def _join(joining: Joining) -> None:
    bird.speak(joining, sessions.reflected(joining.layout), learned.by_neighbours)


PRESET = felix.preset(
    "calico-bgp-rr",
    Transport(
        name="bgp-reflected",
        summary="blocks announced by BGP through one or two route reflectors",
        like=("Calico with route reflectors",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        one_subnet=bird.DIRECT,
        page="BGP sessions of all nodes with route reflectors; each node writes learned routes to its kernel.",
    ),
    "Calico: blocks announced by BGP through route reflectors",
    pages.whole(__doc__, bird.UNLIKE),
)
