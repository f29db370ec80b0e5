"""l3-gateway: nodes know nothing of each other's pods; the fabric's routers have a route for each node's pods.

What a cloud's route table or a hand-kept router does for the first Kubernetes network model. Pod traffic between nodes
follows the default route to the gateway and comes back over the same switch, so it crosses the fabric twice. The
gateway would tell the senders of the shorter way by ICMP redirects; all namespaces have these switched off.
"""

from testbed.designs.design import Design
from testbed.plan.addressing import Layout
from testbed.plan.fabric import UPLINK, fabric, switch_port
from testbed.plan.objects import Plan, Space
from testbed.plan.pods import route_pods_through_bridge
from testbed.plan.sightings import Sighting, through_switch
from testbed.spec.topology import ROUTER


def _wire(layout: Layout, mtu: int) -> Plan:
    draft = fabric(layout, carried={node.name: node.pod_cidrs for node in layout.nodes})
    for node in layout.nodes:
        route_pods_through_bridge(draft, layout, node, mtu)
    return draft.finished(layout.topology.name, DESIGN.name, mtu)


def _crossing(plan: Plan, layout: Layout, source: Space, target: Space, family: int) -> tuple[Sighting, ...]:
    """The bare packet goes from the node to the gateway, and from there to the other node."""
    gateway_mac = plan.device(ROUTER, UPLINK).mac
    return (
        *through_switch(
            switch_port(source.home), switch_port(ROUTER), plan.device(source.home, UPLINK).mac, gateway_mac
        ),
        *through_switch(
            switch_port(ROUTER), switch_port(target.home), gateway_mac, plan.device(target.home, UPLINK).mac
        ),
    )


DESIGN = Design(
    name="l3-gateway",
    summary="nodes send pod traffic to the fabric's gateway, which routes it to the node that has the pod",
    like=("cloud route tables", "a router kept by hand", "Calico with a top-of-rack router"),
    needs=("veth", "bridge"),
    needs_router=True,
    wire=_wire,
    crossing=_crossing,
)
