"""Shortest paths in a fabric, by number of routers; all of them if several are equal.

Only routers forward; a node forwards only packets of its pods. Each step is one router closer to the goal, so there are
no loops.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from testbed.plan.segments import Port, Segment

MAX_ALIKE = 256
"""Most equal steps of a route."""


class Step(NamedTuple):
    """A hop from one port to another on the same Ethernet."""

    out: Port
    to: Port


class Routing:
    """The paths between the Ethernets of a fabric. Results are cached."""

    def __init__(self, segments: Sequence[Segment], routers: Iterable[str]) -> None:
        self._known = frozenset(routers)
        self._routers_on = [[port for port in segment.ports if port.owner in self._known] for segment in segments]
        self._steps: dict[str, list[Step]] = {router: [] for router in self._known}
        """By router: the steps to each router on the same Ethernet."""
        for ports in self._routers_on:
            for one in ports:
                self._steps[one.owner] += (Step(one, other) for other in ports if other is not one)
        self._found: dict[frozenset[int], Mapping[str, tuple[Step, ...]]] = {}

    def first_steps(self, ports: Iterable[Port]) -> tuple[Step, ...]:
        """The steps from a node with these ports to all routers on its Ethernets."""
        return tuple(Step(port, router) for port in ports for router in self._routers_on[port.segment])

    def towards(self, goal: Iterable[int]) -> Mapping[str, tuple[Step, ...]]:
        """By router: the equal steps towards the nearest of these Ethernets; none for routers on one of them."""
        key = frozenset(goal)
        if key not in self._found:
            self._found[key] = self._ways(key)
        return self._found[key]

    def _ways(self, goal: frozenset[int]) -> Mapping[str, tuple[Step, ...]]:
        distance = {port.owner: 0 for number in sorted(goal) for port in self._routers_on[number]}
        frontier = list(distance)
        while frontier:
            fresh: dict[str, int] = {}
            for router in frontier:
                further = distance[router] + 1
                for step in self._steps[router]:
                    if step.to.owner not in distance:
                        fresh[step.to.owner] = further
            distance.update(fresh)
            frontier = list(fresh)
        return {
            router: tuple(step for step in self._steps[router] if distance.get(step.to.owner) == far - 1)[:MAX_ALIKE]
            for router, far in distance.items()
        }

    def to_node(self, router: str, ports: Sequence[Port]) -> tuple[Step, ...]:
        """A router's equal steps to a node with these ports; directly to it on a shared Ethernet."""
        straight = tuple(
            Step(own, port) for port in ports for own in self._routers_on[port.segment] if own.owner == router
        )
        return straight or self.towards(port.segment for port in ports).get(router, ())
