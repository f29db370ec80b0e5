"""What makes a preset of a data path: its page, and its transport."""

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
Unlike in a cluster, no weaver runs: peers are those of the topology, each knows all others from the start, and none
comes or goes. So there is no gossip, and nothing is relayed by a third peer.
Unlike weaver, which sends heartbeats to its peers, nobody notices that a peer has gone: it is sent to all the same.
Unlike weaver, which falls back to sleeve for a peer that the fast data path does not get to, and returns, what carries
frames is settled when the lab comes up.
Unlike weaver, which sends frames for everybody along spanning trees of its mesh, each node sends them to all others.
Unlike in a cluster, no weave-npc runs, and there are no network policies: rules and sets are written once, and what has
been deleted is not put back. Pods are attached without Weave's CNI plugins.
Unlike in Weave, a pod's address is from the share of the range that its node has by its number in the topology, instead
of one that peers have agreed on; and the first address of each share is the bridge's.
Unlike in a cluster, whose namespaces have sets each, only those that pods are in have them; and there are no empty
chains called WEAVE-CANARY.
"""
"""In what all data paths are."""
MTU = 1376
"""Bytes that pods may send if nobody sets WEAVE_MTU: what fits Google's network, of 1460, encrypted as well."""


def preset(
    name: str,
    attachment: Attachment,
    transport: Transport,
    summary: str,
    page: str | None,
    *unlike: str,
    programs: tuple[str, ...] = (),
) -> Design:
    """`weave-NAME`, whose page has behind its own text in what those of its data path are unlike Weave."""
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
        on_link="packets that it masquerades have the address of the device that they leave by",
        programs=(*rules.PROGRAMS, *programs),
        usual_mtu=MTU,
        page=pages.whole(page, *unlike, UNLIKE),
    )


def peer_name(node: NodePlace) -> str:
    """By which the others know a node: the MAC address of its bridge."""
    return mac_address(node.name, "weave")
