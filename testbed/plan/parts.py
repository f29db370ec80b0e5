"""The parts of a plan, so that the next plan of the same lab can reuse unchanged ones.

A design works in steps: the fabric, the pods of each node, the objects that join the nodes, and the objects of an agent
on each node. If only pods of a topology change, the fabric, the joining objects, and all objects of other nodes and
pods stay the same. Therefore a plan records the objects of each step by node, and the objects of each pod. The next
plan reuses these objects, and a comparison of the two plans skips identical objects (`is`).

Parts are not compared: two plans can be equal although only one of them has parts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress
from operator import not_
from typing import NamedTuple, TypeVar

from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.allocation import Key
from testbed.plan.objects import Child, Device, Object, Plan, Plugged, Space, Sysctl, Veth, VethEnd

T = TypeVar("T")
STEPS = 3
"""Number of steps after the fabric: attach pods, join nodes, agent."""
JOIN = 1
"""Index of the step that joins nodes."""


class Written(NamedTuple):
    """Objects that a step added to a space."""

    settings: tuple[Sysctl, ...] = ()
    objects: tuple[Object, ...] = ()


class Shared(NamedTuple):
    """Devices that a step created between spaces."""

    veths: tuple[Veth, ...] = ()
    children: tuple[Child, ...] = ()
    plugged: tuple[Plugged, ...] = ()


@dataclass(frozen=True, eq=False)
class PodPart:
    """A pod with its objects."""

    place: PodPlace
    space: Space
    on_node: Written
    """Its objects in the space of its node."""
    shared: Shared


@dataclass(frozen=True, eq=False)
class NodePart:
    """A node with its pods."""

    place: NodePlace
    fabric: Written
    """Objects of the fabric in its space."""
    joined: Written
    """Objects in its space that join it with other nodes."""
    space: Space
    """Its space with the objects of all steps."""
    pods: tuple[PodPart, ...]
    shared: tuple[Shared, ...]
    """By step, except the fabric."""

    @cached_property
    def pod_spaces(self) -> tuple[Space, ...]:
        return tuple(pod.space for pod in self.pods)

    @property
    def spaces(self) -> tuple[Space, ...]:
        return (self.space, *self.pod_spaces)

    @cached_property
    def devices(self) -> Mapping[str, Mapping[str, Device]]:
        """Devices by space and name, except those of the fabric between spaces."""
        found: dict[str, dict[str, Device]] = {
            space.name: {link.name: link for link in space.links} for space in self.spaces
        }
        for veth in chain.from_iterable(shared.veths for shared in self.shared):
            for end in (veth.a, veth.b):
                found[end.space][end.name] = end
        for child in chain.from_iterable(shared.children for shared in self.shared):
            found[child.space][child.name] = child
        return found


@dataclass(frozen=True, eq=False)
class Parts:
    """All parts of a plan."""

    design: object
    """The plan's design."""
    layout: Layout
    bare: Layout
    """The layout without pods; besides the nodes to plan, steps read only this."""
    fixed: Mapping[str, Space]
    """All spaces except pods, in order."""
    fabric: tuple[Veth, ...]
    """The links of the fabric."""
    nodes: Mapping[str, NodePart]

    @cached_property
    def uplinks(self) -> Mapping[str, Mapping[str, VethEnd]]:
        """The nodes' devices on the fabric, by node and name."""
        found: dict[str, dict[str, VethEnd]] = {name: {} for name in self.nodes}
        for veth in self.fabric:
            for end in (veth.a, veth.b):
                if end.space in found:
                    found[end.space][end.name] = end
        return found

    def spaces(self) -> tuple[Space, ...]:
        return (*self.fixed.values(), *chain.from_iterable(part.pod_spaces for part in self.nodes.values()))

    def shared(self) -> Shared:
        """All devices between spaces, in order of creation: by step, then by node."""
        steps = list(zip(*(part.shared for part in self.nodes.values()), strict=True))
        return Shared(
            (*self.fabric, *chain.from_iterable(shared.veths for step in steps for shared in step)),
            tuple(chain.from_iterable(shared.children for step in steps for shared in step)),
            tuple(chain.from_iterable(shared.plugged for step in steps for shared in step)),
        )


class NotIdentical(NamedTuple):
    """Objects of a plan that are not identical (`is`) to one of another plan."""

    spaces: tuple[Space, ...]
    veths: tuple[Veth, ...]
    children: tuple[Child, ...]


def not_identical(plan: Plan, other: Plan) -> NotIdentical:
    """The objects of a plan that are not identical (`is`) to one of the other plan, in order.

    If both plans have parts, only differing nodes are examined.
    """
    one, two = parts_of(plan), parts_of(other)
    if not one or not two or len(one.nodes) != len(two.nodes):
        return NotIdentical(
            not_identical_items(plan.spaces, other.spaces),
            not_identical_items(plan.veths, other.veths),
            not_identical_items(plan.children, other.children),
        )
    fixed = (space for name, space in one.fixed.items() if two.fixed.get(name) is not space)
    pairs = [(part, two.nodes.get(name)) for name, part in one.nodes.items()]
    differing = [(part, there) for part, there in pairs if part is not there]
    pods = (not_identical_items(part.pod_spaces, there.pod_spaces if there else ()) for part, there in differing)
    shared = [
        (own, there.shared[step] if there else Shared())
        for step in range(STEPS)
        for part, there in differing
        for own in (part.shared[step],)
    ]
    return NotIdentical(
        (*fixed, *chain.from_iterable(pods)),
        (
            *not_identical_items(one.fabric, two.fabric),
            *chain.from_iterable(not_identical_items(own.veths, there.veths) for own, there in shared),
        ),
        tuple(chain.from_iterable(not_identical_items(own.children, there.children) for own, there in shared)),
    )


def not_identical_items(items: tuple[T, ...], known: tuple[T, ...]) -> tuple[T, ...]:
    """The items that are not identical (`is`) to a known one. Fast for large tuples."""
    if items is known:
        return ()
    ids = set(map(id, known))
    return tuple(compress(items, map(not_, map(ids.__contains__, map(id, items)))))


def parts_of(plan: Plan) -> Parts | None:
    """The parts of a plan; None if it has none."""
    return plan.made_of if isinstance(plan.made_of, Parts) else None


def differ_in_pods(plan: Plan, other: Plan) -> bool:
    """Whether the plans differ only in pods; False if unknown."""
    one, two = parts_of(plan), parts_of(other)
    return bool(one and two and one.bare is two.bare)


def numbered(parts: Iterable[NodePart]) -> Iterator[Key]:
    """The keys of the nodes' allocated interface indices, except those of the fabric."""
    for part in parts:
        yield from ((space, dev) for space, devices in part.devices.items() for dev in devices)
