"""gateway: nodes know nothing of each other's pods; the fabric's routers have a route for each node's share.

What a cloud's route table, a hand-kept router, or BGP with the top-of-rack routers does. Pod traffic between nodes
follows the default route, also between nodes of one subnet: there it crosses the same switch twice. The router would
tell the senders of the shorter way by ICMP redirects; all namespaces have these switched off.
"""

from collections.abc import Mapping

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Transport
from testbed.plan.addressing import Layout
from testbed.spec.types import Network


def _join(joining: Joining) -> None:
    """The routers have been told by `carried`, and nodes have a default route in any case."""


def _carried(layout: Layout) -> Mapping[str, tuple[Network, ...]]:
    return {node.name: node.pod_cidrs for node in layout.nodes}


TRANSPORT = Transport(
    name="gateway",
    summary="nodes send pod traffic to the fabric's routers, which know each node's pods",
    like=("cloud route tables", "a router kept by hand", "Calico peering with top-of-rack routers"),
    needs=(),
    takes=frozenset({Delivers.PACKETS, Delivers.FABRIC_PACKETS}),
    join=_join,
    carried=_carried,
    by_router=True,
    page=__doc__,
)
