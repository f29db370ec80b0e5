"""BIRD on nodes: its sessions, and the routes that it is expected to write to the kernel."""

from collections.abc import Callable, Iterable

from testbed.designs import bgp
from testbed.designs.presets.calico import learned
from testbed.designs.presets.calico.sessions import Speakers
from testbed.designs.transport import Joining
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import LearnedRoute, Route

Learned = Callable[[Layout, NodePlace], Iterable[Route]]
"""Routes of a node to the blocks of other nodes."""
DIRECT = "a node's next hop to another node's block is that node; the fabric's routers have no routes to blocks"
"""Why all nodes must be in one subnet without encapsulation."""
UNLIKE = """
Unlike in calico-node, no confd rewrites BIRD's configuration when something changes. Other settings of BGPPeer,
BGPConfiguration and BGPFilter are not supported: ASes of single nodes, passwords, communities, filters, Services.
Unlike in calico-node, one BIRD 2 (Debian's) serves both families; Calico runs its own BIRD 1 for each family.
Unlike Calico's, sessions have no graceful restart: when a BIRD ends, its peers withdraw its routes at once; Calico
keeps them for two minutes in case it restarts.
Unlike Calico's, sessions are quick to come up: BIRD waits 1 s before the first attempt (Calico 2), 1 s between attempts
(Calico 5), and 1 to 5 s after an error (Calico 5 to 30).
Unlike Calico's, BIRD scans devices every second (Calico every 2); the first update to a peer sometimes waits for this.
Unlike Calico's, sessions carry one path per block (Calico has `add paths on`), as there is only one.
"""


def speak(joining: Joining, speakers: Speakers, routes: Learned) -> None:
    """Adds BIRD for each speaker, and the routes of nodes: their own blocks and those learned."""
    for name, speaker in speakers.items():
        bgp.run(joining.draft[name], speaker)
    for node in joining.layout.nodes:
        for route in (*learned.own_blocks(node), *routes(joining.layout, node)):
            joining.draft[node.name].add(LearnedRoute(route))
