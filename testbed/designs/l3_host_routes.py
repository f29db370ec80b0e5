"""l3-host-routes: every node has a route for every other node's pods, by way of that node.

What Flannel's host-gw backend, static Calico and kube-router without overlay leave in the kernel: no encapsulation, one
route a remote node. The fabric must be one subnet, since a next hop has to be a neighbour.
"""

from testbed.designs.design import Design
from testbed.plan.addressing import Layout
from testbed.plan.fabric import UPLINK, fabric, switch_port
from testbed.plan.objects import Plan, Space
from testbed.plan.pods import route_pods_through_bridge
from testbed.plan.sightings import Sighting, through_switch


def _wire(layout: Layout, mtu: int) -> Plan:
    draft = fabric(layout)
    for node in layout.nodes:
        route_pods_through_bridge(draft, layout, node, mtu)
        for remote in layout.nodes:
            if remote is not node:
                for cidr in remote.pod_cidrs:
                    draft[node.name].route(cidr, UPLINK, via=remote.address(cidr.version))
    return draft.finished(layout.topology.name, DESIGN.name, mtu)


def _crossing(plan: Plan, layout: Layout, source: Space, target: Space, family: int) -> tuple[Sighting, ...]:
    """The bare packet goes from node to node."""
    return through_switch(
        switch_port(source.home),
        switch_port(target.home),
        plan.device(source.home, UPLINK).mac,
        plan.device(target.home, UPLINK).mac,
    )


DESIGN = Design(
    name="l3-host-routes",
    summary="each node routes to every other node's pod range by way of that node, without encapsulation",
    like=("Flannel host-gw", "Calico without encapsulation", "kube-router", "Cilium native routing"),
    needs=("veth", "bridge"),
    one_subnet_because="the next hop of a route has to be a neighbour",
    wire=_wire,
    crossing=_crossing,
)
