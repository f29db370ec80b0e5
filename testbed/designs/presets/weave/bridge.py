"""Weave's attachment of pods: the pods of all nodes are on one Ethernet and in one range of addresses."""

import hashlib
from collections.abc import Sequence

from testbed.designs.attachment import Attachment, Delivers
from testbed.designs.attachments.flat_bridge import own_addresses
from testbed.plan.addressing import Layout, PodPlace
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.fabric import DEFAULT_ROUTE, forward
from testbed.plan.pods import POD_INTERFACE, add_pod, in_whole_range

BRIDGE = "weave"
OVERLAY_PORT = "vethwe-bridge"
"""The bridge's port towards other nodes."""
_HOST_PREFIX, _HASH = "vethwepl", 7
_NEIGHBOURS = {"base_reachable_time": 5, "delay_first_probe_time": 2, "ucast_solicit": 1}
"""Pods may move between nodes, so neighbour entries expire early and are probed only once."""


def attachment(checksums: bool) -> Attachment:
    """Weave's bridge. Without `checksums`, checksum offload is disabled, as a process that captures frames requires."""

    def attach(draft: Draft, layout: Layout, mtu: int, on_fabric: bool) -> None:
        for node in draft.nodes:
            space = draft[node.name]
            space.bridge(BRIDGE, mtu, checksums=checksums)
            _probe_neighbours_early(space, BRIDGE)
            forward(space, layout)
            # Bridged frames traverse the node's iptables rules too.
            space.sysctl("net.bridge.bridge-nf-call-iptables", 1, optional=True)
            gateways = own_addresses(layout, node)
            for address in gateways:
                space.address(BRIDGE, address)
            ends = _host_ends(node.pods)
            for place in node.pods:
                pod = add_pod(draft, layout, node, place)
                draft.veth(
                    (node.name, ends[place.pod.id]),
                    (place.pod.id, POD_INTERFACE),
                    mtu,
                    a_master=BRIDGE,
                    b_checksums=checksums,
                )
                _probe_neighbours_early(pod, POD_INTERFACE)
                for address in in_whole_range(place, layout):
                    pod.address(POD_INTERFACE, address)
                for gateway in gateways:
                    pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)

    return Attachment(
        name=BRIDGE,
        summary="a bridge on each node, joined by an overlay to one Ethernet of all pods",
        like=("Weave Net",),
        needs=("veth", "bridge"),
        delivers=Delivers.FRAMES,
        attach=attach,
        has_own_macs=True,
        page=__doc__ or "",
    )


def _probe_neighbours_early(space: SpaceDraft, dev: str) -> None:
    for name, value in _NEIGHBOURS.items():
        # Not available in a namespace that was created without root.
        space.sysctl(f"net/ipv4/neigh/{dev}/{name}", value, optional=True, dev=dev)


def _host_ends(pods: Sequence[PodPlace]) -> dict[str, str]:
    """The name of the node's end by pod, with seven digits as Weave's, which uses those of the container's id."""
    ends: dict[str, str] = {}
    for place in pods:
        digits = hashlib.sha256(place.pod.id.encode()).hexdigest()
        names = (_HOST_PREFIX + digits[start : start + _HASH] for start in range(len(digits)))
        ends[place.pod.id] = next(name for name in names if name not in ends.values())
    return ends
