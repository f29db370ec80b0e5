"""host-routes: every node has a route to every other node's pods via that node.

No encapsulation, one route per remote node. All nodes must be in one subnet, because a next hop must be a neighbour;
the fabric's routers have no routes to pods and would drop the packets.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport, others
from testbed.plan.fabric import UPLINK


def _join(joining: Joining) -> None:
    for node in joining.layout.nodes:
        for remote in others(joining.layout, node):
            for cidr in remote.pod_cidrs:
                joining.draft[node.name].route(cidr, UPLINK, via=remote.address(cidr.version))


TRANSPORT = Transport(
    name="host-routes",
    summary="each node has a route to every other node's pods via that node",
    like=("Flannel host-gw", "Calico without encapsulation", "kube-router", "Cilium native routing"),
    needs=(),
    takes=frozenset({Delivers.PACKETS, Delivers.FABRIC_PACKETS}),
    join=_join,
    one_subnet="a node's next hop to another node's pods must be its neighbour",
    page=__doc__,
)
