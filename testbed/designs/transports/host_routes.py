"""host-routes: every node has a route for every other node's pods, by way of that node.

No encapsulation, one route a remote node. All nodes must be in one subnet, since a next hop has to be a neighbour;
beyond it the routers, which know nothing of pods, would drop their packets.
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
    summary="each node routes to every other node's pods by way of that node",
    like=("Flannel host-gw", "Calico without encapsulation", "kube-router", "Cilium native routing"),
    needs=(),
    takes=frozenset({Delivers.PACKETS, Delivers.FABRIC_PACKETS}),
    join=_join,
    one_subnet="a node's next hop to another node's pods has to be its neighbour",
    page=__doc__,
)
