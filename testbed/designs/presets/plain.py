"""The generic designs, as rows of one table."""

from collections.abc import Mapping

from testbed.designs.attachments import ATTACHMENTS
from testbed.designs.design import Design
from testbed.designs.transports import TRANSPORTS
from testbed.spec.design import TransportSpec


def _preset(name: str, attach: str, kind: str, summary: str, *like: str) -> Design:
    return Design(name, ATTACHMENTS[attach], TRANSPORTS[kind], TransportSpec(kind=kind), None, summary, like)


_ROWS = (
    _preset(
        "l2",
        "flat-bridge",
        "l2",
        "one Ethernet over all nodes: bridges joined by the fabric, pods find each other by ARP",
        "Weave Net (without its overlay)",
        "macvlan or bridge on a flat network",
    ),
    _preset(
        "l3-gateway",
        "bridge",
        "gateway",
        "nodes send pod traffic to the fabric's gateway, which routes it to the node that has the pod",
        "cloud route tables",
        "a manually configured router",
        "Calico with a top-of-rack router",
    ),
    _preset(
        "l3-host-routes",
        "bridge",
        "host-routes",
        "each node has a route to every other node's pod range via that node, without encapsulation",
        "Flannel host-gw",
        "Calico without encapsulation",
        "kube-router",
        "Cilium native routing",
    ),
    _preset(
        "vxlan",
        "bridge",
        "vxlan",
        "pod packets travel between nodes inside UDP (VXLAN), static entries for remote nodes",
        "Flannel vxlan",
        "Calico VXLAN",
        "Cilium tunnel mode",
    ),
)

PRESETS: Mapping[str, Design] = {design.name: design for design in _ROWS}
