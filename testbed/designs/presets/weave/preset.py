"""Creates the preset of a data path from its page and its transport."""

from testbed.designs.attachment import Attachment
from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.weave import rules
from testbed.designs.transport import Transport
from testbed.plan.addressing import NodePlace
from testbed.plan.naming import mac_address
from testbed.plan.pods import behind_node
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike in a cluster, no weaver runs: the peers are the nodes of the topology, and each has all others from the start.
There is no gossip, and frames are not relayed by a third peer.
Unlike weaver, which sends heartbeats to its peers, failed peers are not detected: frames are still sent to them.
Unlike weaver, which falls back to sleeve for a peer that the fast data path does not reach, and returns later, the data
path is fixed when the lab comes up.
Unlike weaver, which sends broadcast frames along spanning trees of its mesh, each node sends them to all others.
Unlike in a cluster, no weave-npc runs, and there are no network policies: rules and sets are written once, and are not
put back if deleted. Pods are attached without Weave's CNI plugins.
Unlike in Weave, a pod's address is from a share of the range that follows from its node's number in the topology,
instead of one that peers have agreed on. The first address of each share is the bridge's. Weave allocates the lowest
free address; here a freed one is recycled after all others of the share.
Unlike in a cluster, where every namespace has sets, only namespaces with pods have them; and there are no empty chains
WEAVE-CANARY.
"""
UNLIKE += pages.WITHOUT_IPV6
"""Departures from Weave that all data paths share."""
MTU = 1376
"""Default of WEAVE_MTU: fits the MTU of Google's network (1460), also encrypted."""


def preset(
    name: str,
    attachment: Attachment,
    transport: Transport,
    summary: str,
    page: str | None,
    *unlike: str,
    programs: tuple[str, ...] = (),
) -> Design:
    """The preset `weave-NAME`; `unlike` are departures that its data path shares with others."""
    return Design(
        name=f"weave-{name}",
        attachment=attachment,
        transport=transport,
        options=TransportSpec(kind=transport.name),
        summary=summary,
        like=("Weave Net",),
        agent=rules.run,
        agent_knows_pods=True,
        masks=behind_node,
        also_needs=rules.NEEDS,
        on_link="masqueraded packets get the address of the device that they leave through",
        programs=(*rules.PROGRAMS, *programs),
        usual_mtu=MTU,
        page=pages.whole(page, *unlike, UNLIKE),
    )


def peer_name(node: NodePlace) -> str:
    """The name of a node among its peers: the MAC address of its bridge."""
    return mac_address(node.name, "weave")
