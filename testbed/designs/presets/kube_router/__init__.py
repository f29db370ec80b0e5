"""kube-router: BGP between all nodes, the CNI plugin `bridge`, and policies by iptables and ipset."""

from testbed.designs.design import Design
from testbed.designs.presets.kube_router import full_overlay, subnet

PRESETS: tuple[Design, ...] = (subnet.PRESET, full_overlay.PRESET)
