"""Calico without encapsulation: nodes announce their blocks by BGP to all other nodes (full mesh).

BIRD runs on each node, in AS 64512, with a session `Mesh_<address>` to every other node: n(n-1)/2 sessions for n nodes.
It announces the node's blocks, not the routes to single pods in it, and writes learned routes to the kernel. The next
hop of a route is the node that has the pods, so all nodes must be neighbours.

    10.244.0.64/26 via 192.168.56.2 dev eth0 proto bird
    blackhole 10.244.0.0/26 proto bird

The second route is a block of the node itself. It drops packets to pods that do not exist, because the other nodes send
packets for the whole block to this node. Pods have the fabric's MTU. IPv6 routes are exchanged in IPv6 sessions.

Routes appear one to two seconds after BIRD starts; it waits for one second before it connects to peers.

    birdc show protocols             the sessions, and since when
    birdc show route all             the learned routes with their peers
    ip route show proto bird         the routes in the kernel
    cat /run/bird/bird.conf          BIRD's configuration
    iptables-save; ipset list        Felix' rules and sets
"""

from testbed.designs.attachment import Delivers
from testbed.designs.presets import pages
from testbed.designs.presets.calico import bird, felix, learned, sessions
from testbed.designs.transport import Joining, Transport


def _join(joining: Joining) -> None:
    bird.speak(joining, sessions.mesh(joining.layout), learned.by_neighbours)


PRESET = felix.preset(
    "calico-bgp",
    Transport(
        name="bgp-mesh",
        summary="blocks announced by BGP in a full mesh",
        like=("Calico without encapsulation",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        one_subnet=bird.DIRECT,
        page="A BGP session between every two nodes; each writes learned routes to its kernel.",
    ),
    "Calico: blocks announced by BGP in a full mesh of nodes",
    pages.whole(__doc__, bird.UNLIKE),
)
