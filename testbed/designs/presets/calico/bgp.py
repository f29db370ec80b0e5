"""Calico without encapsulation: nodes tell each other their blocks by BGP, everyone everyone else (the full mesh).

BIRD runs on each node, in AS 64512 as all others, and has a session with every other one, `Mesh_<address>`: with n
nodes n(n-1)/2 in all. It tells its peers the node's block, not the routes to single pods in it, and puts what it hears
into the kernel. A route's next hop is the node that has the pods, so all nodes have to be neighbours.

    10.244.0.64/26 via 192.168.56.2 dev eth0 proto bird
    blackhole 10.244.0.0/26 proto bird

The second one is the node's own block: what is for a pod that it does not have is dropped there, since all others count
on it for the whole of the block. Packets are as large as the fabric takes. IPv6 routes come by sessions over IPv6.

Routes are there a second or two after BIRD was started, one of which it waits before it connects to anybody.

    birdc show protocols             the sessions, and since when
    birdc show route all             what was heard from whom
    ip route show proto bird         what of it the kernel has
    cat /run/bird/bird.conf          what BIRD was told
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
        summary="nodes tell each other their blocks by BGP, everyone everyone else",
        like=("Calico without encapsulation",),
        needs=(),
        takes=frozenset({Delivers.PACKETS}),
        join=_join,
        one_subnet=bird.NOT_KNOWN,
        page="A BGP session between every two nodes; each puts what it hears into its kernel.",
    ),
    "Calico: blocks told by BGP, from every node to every other one",
    pages.whole(__doc__, bird.UNLIKE),
)
