"""l2: the fabric itself is the pods' Ethernet. Nothing is routed and nothing put around packets.

All nodes must be on one Ethernet, whose switches learn every pod's MAC address (or, with ipvlan, the nodes'). The
fabric's router has the whole pod range on its link.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport


def _join(joining: Joining) -> None:
    draft, layout = joining.draft, joining.layout
    routers = [step.to for step in layout.routing.first_steps(layout.nodes[0].ports)]
    for cidr in layout.pod_cidrs:
        for router in routers:
            draft[router.owner].route(cidr, router.dev)
        for node in layout.nodes:
            draft[node.name].route(cidr, joining.node_device)


TRANSPORT = Transport(
    name="l2",
    summary="the fabric is the pods' Ethernet too",
    like=("macvlan and bridge networks", "Weave Net without its overlay"),
    needs=(),
    takes=frozenset({Delivers.FRAMES, Delivers.FABRIC_FRAMES}),
    join=_join,
    one_subnet="all pods are on one Ethernet",
    page=__doc__,
)
