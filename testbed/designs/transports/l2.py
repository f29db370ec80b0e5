"""l2: the fabric is also the pods' Ethernet, without routing or encapsulation.

All nodes must be on one Ethernet, whose switches learn every pod's MAC address (with ipvlan only the nodes'). For the
fabric's router the whole pod range is on-link.
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
    summary="the fabric is also the pods' Ethernet",
    like=("macvlan and bridge networks", "Weave Net without its overlay"),
    needs=(),
    takes=frozenset({Delivers.FRAMES, Delivers.FABRIC_FRAMES}),
    join=_join,
    one_subnet="all pods are on one Ethernet",
    page=__doc__,
)
