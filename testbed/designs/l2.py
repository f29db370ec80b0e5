"""l2: one Ethernet over all nodes. Pods see the whole pod CIDR as their link and find each other by ARP.

On each node the pods' `kube-bridge` hangs by a veth pair on a second bridge, `br-node`, of which the node's fabric
interface is a port and which holds the node's address:

    pod eth0 - veth [kube-bridge] to-fabric - to-pods [br-node] eth0 - switch - eth0 [br-node] ...

Nothing routes between pods; the switch learns every pod's MAC address.
"""

from testbed.designs.design import Design
from testbed.plan.addressing import Layout
from testbed.plan.fabric import DEFAULT_ROUTE, fabric, switch_port
from testbed.plan.objects import Plan, Space
from testbed.plan.pods import POD_BRIDGE, POD_INTERFACE, add_pod
from testbed.plan.sightings import Sighting, through_switch
from testbed.spec.types import Interface

NODE_BRIDGE = "br-node"


def _wire(layout: Layout, mtu: int) -> Plan:
    draft = fabric(layout, node_device=NODE_BRIDGE, uplink_master=NODE_BRIDGE)
    for step in layout.routing.first_steps(layout.nodes[0].ports):
        for cidr in layout.pod_cidrs:
            draft[step.to.owner].route(cidr, step.to.dev)
    for node in layout.nodes:
        space = draft[node.name]
        space.bridge(NODE_BRIDGE, layout.fabric_mtu)
        space.bridge(POD_BRIDGE, mtu)
        draft.veth((node.name, "to-fabric"), (node.name, "to-pods"), mtu, a_master=POD_BRIDGE, b_master=NODE_BRIDGE)
        for cidr in layout.pod_cidrs:
            space.route(cidr, NODE_BRIDGE)
        for place in node.pods:
            pod = add_pod(draft, layout, node, place, mtu, _in_whole_range(place.addresses, layout))
            for cidr in layout.fabric_cidrs:
                pod.route(cidr, POD_INTERFACE)
            for gateway in layout.gateway:
                pod.route(DEFAULT_ROUTE[gateway.version], POD_INTERFACE, via=gateway.ip)
    return draft.finished(layout.topology.name, DESIGN.name, mtu)


def _in_whole_range(addresses: tuple[Interface, ...], layout: Layout) -> list[Interface]:
    """The same addresses with the prefix of the whole pod range instead of the node's share."""
    return [
        type(address)((address.ip, cidr.prefixlen)) for address, cidr in zip(addresses, layout.pod_cidrs, strict=True)
    ]


def _crossing(plan: Plan, layout: Layout, source: Space, target: Space, family: int) -> tuple[Sighting, ...]:
    """The frame has the pods' own MAC addresses."""
    return through_switch(
        switch_port(source.home),
        switch_port(target.home),
        plan.device(source.name, POD_INTERFACE).mac,
        plan.device(target.name, POD_INTERFACE).mac,
    )


DESIGN = Design(
    name="l2",
    summary="one Ethernet over all nodes: bridges joined by the fabric, pods find each other by ARP",
    like=("Weave Net (without its overlay)", "macvlan or bridge on a flat network"),
    needs=("veth", "bridge"),
    one_subnet_because="an Ethernet ends at a router",
    wire=_wire,
    crossing=_crossing,
)
