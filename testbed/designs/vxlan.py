"""vxlan: Flannel's way. One VXLAN device a node, told of every remote node in advance; nothing is learned or flooded.

For each remote node there are three entries: a permanent neighbour (that node's tunnel address has this MAC), an FDB
entry (that MAC is behind this node's fabric address), and an on-link route to its pods by way of its tunnel address.
The tunnel address is the first of the node's pod range, on no other device. A pod's packets are smaller by the outer
headers: 50 bytes with IPv4 outside, 70 with IPv6.

As with Flannel there is one device for each outer family, `flannel.1` and `flannel-v6.1`. Pods' packets take the device
of their own family; where the fabric has one family only, both kinds take that one's.
"""

import ipaddress

from testbed.designs.design import Design
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.fabric import UPLINK, fabric, switch_port
from testbed.plan.naming import mac_address
from testbed.plan.objects import Plan, Space
from testbed.plan.pods import route_pods_through_bridge
from testbed.plan.sightings import Sighting, VxlanHeader, through_switch
from testbed.spec.types import Address, Network

VNI = 1
PORT = 8472
"""The Linux kernel's own default, which Flannel keeps; IANA's is 4789."""
DEVICE = {4: "flannel.1", 6: "flannel-v6.1"}
"""By outer family."""
OUTER_HEADERS = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}
"""Outer IP, UDP, VXLAN and inner Ethernet header, in bytes."""


def _outer_family(pod_family: int, layout: Layout) -> int:
    families = layout.fabric_families
    return pod_family if pod_family in families else families[0]


def _outer_families(layout: Layout) -> tuple[int, ...]:
    return tuple(sorted({_outer_family(cidr.version, layout) for cidr in layout.pod_cidrs}))


def _tunnel_address(pod_cidr: Network) -> Address:
    return pod_cidr.network_address


def _wire(layout: Layout, mtu: int) -> Plan:
    draft = fabric(layout)
    for node in layout.nodes:
        route_pods_through_bridge(draft, layout, node, mtu)
        space = draft[node.name]
        for family in _outer_families(layout):
            space.vxlan(DEVICE[family], mtu, VNI, PORT, node.address(family))
        for cidr in node.pod_cidrs:
            own = _tunnel_address(cidr)
            space.address(DEVICE[_outer_family(cidr.version, layout)], ipaddress.ip_interface(own))
        for remote in layout.nodes:
            if remote is not node:
                _reach(space, remote, layout)
    return draft.finished(layout.topology.name, DESIGN.name, mtu)


def _reach(space: SpaceDraft, remote: NodePlace, layout: Layout) -> None:
    """The three entries for a remote node, the route last, so that no packet goes out before it can be addressed."""
    for family in _outer_families(layout):
        space.fdb(mac_address(remote.name, DEVICE[family]), DEVICE[family], remote.address(family))
    for cidr in remote.pod_cidrs:
        device = DEVICE[_outer_family(cidr.version, layout)]
        space.neighbour(_tunnel_address(cidr), mac_address(remote.name, device), device)
        space.route(cidr, device, via=_tunnel_address(cidr), onlink=True)


def _crossing(plan: Plan, layout: Layout, source: Space, target: Space, family: int) -> tuple[Sighting, ...]:
    """From node to node goes UDP, and in it the pods' packet between the MAC addresses of the tunnel's ends."""
    outer = _outer_family(family, layout)
    device = DEVICE[outer]
    places = {node.name: node for node in layout.nodes}
    header = VxlanHeader(
        VNI,
        PORT,
        places[source.home].address(outer),
        places[target.home].address(outer),
        plan.device(source.home, device).mac,
        plan.device(target.home, device).mac,
    )
    return through_switch(
        switch_port(source.home),
        switch_port(target.home),
        plan.device(source.home, UPLINK).mac,
        plan.device(target.home, UPLINK).mac,
        header,
    )


DESIGN = Design(
    name="vxlan",
    summary="pod packets travel between nodes inside UDP (VXLAN), tunnel ends known in advance",
    like=("Flannel vxlan", "Calico VXLAN", "Cilium tunnel mode"),
    needs=("veth", "bridge", "vxlan"),
    wire=_wire,
    crossing=_crossing,
    overhead=lambda layout: max(OUTER_HEADERS[family] for family in _outer_families(layout)),
    carries_any_family=True,
)
