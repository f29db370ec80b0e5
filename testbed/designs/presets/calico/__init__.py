"""Calico: a route for each pod, blocks of addresses for nodes, and several ways of telling nodes of each other's."""

from testbed.designs.design import Design
from testbed.designs.presets.calico import bgp, bgp_rr, bgp_tor, cross_subnet, ipip, vxlan, wireguard

PRESETS: tuple[Design, ...] = tuple(
    module.PRESET for module in (bgp, bgp_rr, bgp_tor, ipip, vxlan, cross_subnet, wireguard)
)
