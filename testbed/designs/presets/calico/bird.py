"""BIRD on nodes: told whom to speak with, and expected to put routes into the kernel."""

from collections.abc import Callable, Iterable

from testbed.designs import bgp
from testbed.designs.presets.calico import learned
from testbed.designs.presets.calico.sessions import Speakers
from testbed.designs.transport import Joining
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import LearnedRoute, Route

Heard = Callable[[Layout, NodePlace], Iterable[Route]]
"""Routes of a node to others' blocks."""
NOT_KNOWN = "a node's next hop to another node's block is that node; the fabric's routers do not know blocks"
"""Why all nodes must be in one subnet where there is no encapsulation."""
UNLIKE = """
Unlike in calico-node, no confd writes BIRD's configuration anew when something changes. What BGPPeer, BGPConfiguration
and BGPFilter could say besides is not offered: ASes of single nodes, passwords, communities, filters, Services.
Unlike in calico-node, one BIRD 2 speaks for both families, which is Debian's; Calico's own are of version 1, one for
each family.
Unlike Calico's, sessions have no graceful restart: when a BIRD ends, its peers take its routes back at once, instead of
keeping them for two minutes in case it comes again.
Unlike Calico's, sessions are quick to come up: a second until the first attempt (there 2), between attempts (5), and
after an error, when it becomes up to 5 (5 to 30).
Unlike Calico's, it looks after devices every second (there 2): now and then the first news for a peer waits for that.
Unlike Calico's, sessions carry one path for a block each (there `add paths on`), as there is no more than one.
"""


def speak(joining: Joining, speakers: Speakers, heard: Heard) -> None:
    """Has BIRD run wherever there is a speaker; nodes have their own blocks of it, and what they heard."""
    for name, speaker in speakers.items():
        bgp.run(joining.draft[name], speaker)
    for node in joining.layout.nodes:
        for route in (*learned.own_blocks(node), *heard(joining.layout, node)):
            joining.draft[node.name].add(LearnedRoute(route))
