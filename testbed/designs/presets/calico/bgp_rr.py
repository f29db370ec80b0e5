"""Calico without encapsulation, with route reflectors instead of the full mesh.

The first two nodes (of two nodes the first) are what Calico calls route reflectors: they have a session,
`Node_<address>`, with every node, and hand on what they hear from one to all others (RFC 4456), where BGP within an
autonomous system would have everybody speak with everybody. All else have sessions with these two alone. The reflectors
are one cluster, 244.0.0.1, so they do not hand on what they hear from each other. If one goes, all routes but those to
its own pods stay.

Next hops are handed on as they are: routes are those of the full mesh, and packets go from node to node.

    10.244.0.64/26 via 192.168.56.2 dev eth0 proto bird

    birdc show protocols                              on a reflector one for each node, on others two
    birdc show route all for 10.244.0.64/26           BGP.originator_id and BGP.cluster_list tell the way of the news
    ip route show proto bird
    cat /run/bird/bird.conf

Unlike in a cluster, where nodes with a label are chosen as reflectors (`peerSelector: route-reflector == 'true'`, and
the node's `routeReflectorClusterID`), nodes have no labels here, so the first ones are taken.
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
        summary="nodes tell their blocks by BGP to one or two nodes, which tell all others",
        like=("Calico with route reflectors",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        one_subnet=bird.NOT_KNOWN,
        page="BGP sessions of all nodes with route reflectors; each puts what it hears into its kernel.",
    ),
    "Calico: blocks told by BGP, by way of nodes that reflect",
    pages.whole(__doc__, bird.UNLIKE),
)
