"""gateway: nodes have no routes to other nodes' pods; the fabric's routers have a route for each node's share.

Like a cloud's route table, a manually configured router, or BGP with top-of-rack routers. Pod traffic between nodes
follows the default route, also between nodes of one subnet, where it crosses the same switch twice. ICMP redirects,
which would tell senders the shorter way, are disabled in all namespaces.
"""

from collections.abc import Mapping

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport
from testbed.plan.addressing import Layout
from testbed.spec.types import Network


def _join(joining: Joining) -> None:
    """Nothing to add: `carried` adds routes to the routers, and nodes always have a default route."""


def _carried(layout: Layout) -> Mapping[str, tuple[Network, ...]]:
    return {node.name: node.pod_cidrs for node in layout.nodes}


TRANSPORT = Transport(
    name="gateway",
    summary="nodes send pod traffic to the fabric's routers, which have a route to each node's pods",
    like=("cloud route tables", "a manually configured router", "Calico peering with top-of-rack routers"),
    needs=(),
    takes=frozenset({Delivers.PACKETS, Delivers.FABRIC_PACKETS}),
    join=_join,
    carried=_carried,
    by_router=True,
    page=__doc__,
)
