"""Expected sightings of a plain IP packet between two nodes, at each switch and router of the fabric.

If routers have several equal next hops, there are several alternative ways, and a packet takes one of them.
"""

from collections.abc import Iterator
from itertools import islice, pairwise

from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.naming import mac_address
from testbed.plan.routing import Step
from testbed.plan.segments import UPLINK, Port, port_to
from testbed.plan.sightings import Direction, Sighting, Way

MAX_WAYS = 1024
"""Most alternatives that are listed; a fabric with 64 spines has 64."""


def ways(
    layout: Layout, source: str, target: str, family: int, by_router: bool = False, node_device: str = UPLINK
) -> tuple[Way, ...]:
    """All ways of a packet from a node to the address of another one, in family 4 or 6.

    `by_router`: only routers have a route to the target address, so neighbours also send the packet to their router.
    `node_device` is the device with the nodes' fabric address.
    """
    nodes = {node.name: node for node in layout.nodes}
    walker = _Walker(layout, nodes[target], node_device)
    return tuple(islice(walker.ways(nodes[source], by_router), MAX_WAYS))


class _Walker:
    """All ways to one node."""

    def __init__(self, layout: Layout, target: NodePlace, node_device: str) -> None:
        self._layout = layout
        self._target = target
        self._node_device = node_device

    def ways(self, source: NodePlace, by_router: bool) -> Iterator[Way]:
        for step in self._first_steps(source, by_router):
            yield from self._from(step)

    def _first_steps(self, source: NodePlace, by_router: bool) -> tuple[Step, ...]:
        if not by_router and not self._target.is_on_loopback:
            (goal,) = self._target.ports
            for port in source.ports:
                if port.segment == goal.segment:
                    return (Step(port, goal),)
        return self._layout.routing.first_steps(source.ports)

    def _from(self, step: Step) -> Iterator[Way]:
        """The step across an Ethernet, continued by all ways from its end."""
        crossed = self._across(step)
        if step.to.owner == self._target.name:
            yield crossed
            return
        here = step.to
        received = Sighting(here.owner, here.dev, Direction.IN, self._mac(step.out), self._mac(here))
        for further in self._layout.routing.to_node(here.owner, self._target.ports):
            macs = self._mac(further.out), self._mac(further.to)
            sent = Sighting(here.owner, further.out.dev, Direction.OUT, *macs)
            for rest in self._from(further):
                yield (*crossed, received, sent, *rest)

    def _across(self, step: Step) -> Way:
        """The sightings at the switches of an Ethernet, if it has any; they do not change the frame."""
        path = self._layout.switches_between(step.out, step.to)
        macs = self._mac(step.out), self._mac(step.to)
        places = (step.out.owner, *path, step.to.owner)
        return tuple(
            sighting
            for (before, here), (_, after) in pairwise(pairwise(places))
            for sighting in (
                Sighting(here, port_to(before), Direction.IN, *macs),
                Sighting(here, port_to(after), Direction.OUT, *macs),
            )
        )

    def _mac(self, port: Port) -> str:
        # A node's address may be on a bridge with the node's first port.
        is_node = port.owner in self._layout.topology.nodes
        return mac_address(port.owner, self._node_device if is_node and port.dev == UPLINK else port.dev)
