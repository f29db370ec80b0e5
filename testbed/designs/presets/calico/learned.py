"""The routes that BIRD is expected to write to each kernel, derived from the sessions."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from testbed.designs.transport import others
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import BIRD, NextHop, Route
from testbed.plan.routing import Step
from testbed.plan.segments import UPLINK
from testbed.spec.types import Network


def own_blocks(node: NodePlace) -> Iterator[Route]:
    """Blackhole routes for the node's blocks: they drop packets to pods that do not exist."""
    for block in node.ranges:
        yield Route(block, "", blackhole=True, protocol=BIRD)


def by_neighbours(layout: Layout, node: NodePlace) -> Iterator[Route]:
    """Routes to the blocks of neighbours, via these."""
    for remote in others(layout, node):
        if layout.are_neighbours(node, remote):
            for block in remote.ranges:
                yield _route(block, [NextHop(remote.address(block.version), UPLINK)])


def by_default_route(layout: Layout, node: NodePlace) -> Iterator[Route]:
    """Routes to the blocks of nodes that are not neighbours, via the default gateway, which leads to these nodes."""
    steps = layout.routing.first_steps(node.ports)
    for remote in others(layout, node):
        if not layout.are_neighbours(node, remote):
            for block in remote.ranges:
                yield _route(block, _hops(steps, block.version))


def by_tunnel(layout: Layout, node: NodePlace, family: int, dev: str) -> Iterator[Route]:
    """Routes to the blocks of one family, through a tunnel device on which all nodes are treated as neighbours."""
    for remote in others(layout, node):
        for block in remote.ranges_of(family):
            yield Route(block, dev, remote.address(family), onlink=True, protocol=BIRD)


def of_nodes_with_routers(layout: Layout, node: NodePlace) -> Iterator[Route]:
    """Routes of a node that has sessions with routers: via the nearest of these, or directly on a common Ethernet."""
    for remote in others(layout, node):
        steps = list(_nearest(layout, node, remote))
        for block in remote.ranges:
            source = node.address(block.version) if node.is_on_loopback else None
            yield replace(_route(block, _hops(steps, block.version)), source=source)


def of_router(layout: Layout, router: str) -> Iterator[Route]:
    """Routes of a router to the blocks of all nodes."""
    for node in layout.nodes:
        steps = layout.routing.to_node(router, node.ports)
        for block in node.ranges:
            yield _route(block, _hops(steps, block.version))


def _nearest(layout: Layout, node: NodePlace, remote: NodePlace) -> Iterator[Step]:
    """The next hops to another node that the nearest routers on the node's links announce.

    A router that learned the block on the Ethernet on which it announces it keeps the next hop (RFC 4271, 5.1.3), so
    packets do not go through the router.
    """
    goal = [port.segment for port in remote.ports]
    towards = layout.routing.towards(goal)
    first = [step for step in layout.routing.first_steps(node.ports) if step.to.owner in towards]
    distance = {step.to.owner: _distance(layout, step.to.owner, goal) for step in first}
    for step in first:
        if distance[step.to.owner] > min(distance.values()):
            continue
        straight = [port for port in remote.ports if port.segment == step.out.segment]
        yield Step(step.out, straight[0]) if straight else step


def _distance(layout: Layout, router: str, goal: Iterable[int]) -> int:
    """Number of routers between a router and the nearest of these Ethernets."""
    towards, length = layout.routing.towards(goal), 0
    while steps := towards[router]:
        router, length = steps[0].to.owner, length + 1
    return length


def _hops(steps: Iterable[Step], family: int) -> list[NextHop]:
    return [NextHop(step.to.address(family), step.out.dev) for step in steps]


def _route(to: Network, hops: Iterable[NextHop]) -> Route:
    several = tuple(sorted(set(hops), key=str))
    if len(several) > 1:
        return Route(to, "", nexthops=several, protocol=BIRD)
    return Route(to, several[0].dev, several[0].via, protocol=BIRD)
