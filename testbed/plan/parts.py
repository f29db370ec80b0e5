"""The parts that a plan is made of, so that the next plan of the same lab can take over those that stay.

A design works in steps: the fabric, then the pods on each node, what joins the nodes, what an agent leaves on each. If
of a topology nothing but pods has changed, then the fabric is the same, what joins the nodes is the same on each, and
all that other nodes and other pods have. So a plan remembers by node what each step has made there, and by pod what
hangs on it. The next plan has the very same objects where it takes over a part, which makes their comparison quick.

What a plan is made of is no part of its value: two plans are equal however they came about.
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
"""Of a design behind the fabric: the first one attaches pods, the second joins the nodes, the last is the agent's."""
JOIN = 1


class Written(NamedTuple):
    """What a step has written into a space."""

    settings: tuple[Sysctl, ...] = ()
    objects: tuple[Object, ...] = ()


class Shared(NamedTuple):
    """What a step has made between spaces."""

    veths: tuple[Veth, ...] = ()
    children: tuple[Child, ...] = ()
    plugged: tuple[Plugged, ...] = ()


@dataclass(frozen=True, eq=False)
class PodPart:
    """A pod, and all that hangs on it."""

    place: PodPlace
    space: Space
    beside: Written
    """In the space of its node."""
    shared: Shared


@dataclass(frozen=True, eq=False)
class NodePart:
    """A node with its pods."""

    place: NodePlace
    fabric: Written
    """What the fabric has written into its space,"""
    joined: Written
    """and what joins it with the other nodes."""
    space: Space
    """With what all steps have written."""
    pods: tuple[PodPart, ...]
    shared: tuple[Shared, ...]
    """By step, without the fabric's."""

    @cached_property
    def pod_spaces(self) -> tuple[Space, ...]:
        return tuple(pod.space for pod in self.pods)

    @property
    def spaces(self) -> tuple[Space, ...]:
        return (self.space, *self.pod_spaces)

    @cached_property
    def devices(self) -> Mapping[str, Mapping[str, Device]]:
        """By space and name, without those that the fabric has made between spaces."""
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
    """All that a plan is made of."""

    design: object
    """That which the plan follows."""
    layout: Layout
    bare: Layout
    """The same without pods: all that the steps read, beside their own nodes."""
    fixed: Mapping[str, Space]
    """All spaces but pods, in their order."""
    fabric: tuple[Veth, ...]
    """The links of the fabric."""
    nodes: Mapping[str, NodePart]

    @cached_property
    def uplinks(self) -> Mapping[str, Mapping[str, VethEnd]]:
        """By node, then by name: its devices on the fabric."""
        found: dict[str, dict[str, VethEnd]] = {name: {} for name in self.nodes}
        for veth in self.fabric:
            for end in (veth.a, veth.b):
                if end.space in found:
                    found[end.space][end.name] = end
        return found

    def spaces(self) -> tuple[Space, ...]:
        return (*self.fixed.values(), *chain.from_iterable(part.pod_spaces for part in self.nodes.values()))

    def shared(self) -> Shared:
        """In the order in which a design makes them: step by step, node by node."""
        steps = list(zip(*(part.shared for part in self.nodes.values()), strict=True))
        return Shared(
            (*self.fabric, *chain.from_iterable(shared.veths for step in steps for shared in step)),
            tuple(chain.from_iterable(shared.children for step in steps for shared in step)),
            tuple(chain.from_iterable(shared.plugged for step in steps for shared in step)),
        )


class Unlike(NamedTuple):
    """What is in one plan, and is not the very same in another one."""

    spaces: tuple[Space, ...]
    veths: tuple[Veth, ...]
    children: tuple[Child, ...]


def unlike(plan: Plan, other: Plan) -> Unlike:
    """What of a plan is not the very same in the other one, in its order.

    Where the plans remember their parts, only those nodes are looked at that differ.
    """
    one, two = parts_of(plan), parts_of(other)
    if not one or not two or len(one.nodes) != len(two.nodes):
        return Unlike(
            others(plan.spaces, other.spaces),
            others(plan.veths, other.veths),
            others(plan.children, other.children),
        )
    fixed = (space for name, space in one.fixed.items() if two.fixed.get(name) is not space)
    pairs = [(part, two.nodes.get(name)) for name, part in one.nodes.items()]
    differing = [(part, there) for part, there in pairs if part is not there]
    pods = (others(part.pod_spaces, there.pod_spaces if there else ()) for part, there in differing)
    shared = [
        (own, there.shared[step] if there else Shared())
        for step in range(STEPS)
        for part, there in differing
        for own in (part.shared[step],)
    ]
    return Unlike(
        (*fixed, *chain.from_iterable(pods)),
        (
            *others(one.fabric, two.fabric),
            *chain.from_iterable(others(own.veths, there.veths) for own, there in shared),
        ),
        tuple(chain.from_iterable(others(own.children, there.children) for own, there in shared)),
    )


def others(items: tuple[T, ...], known: tuple[T, ...]) -> tuple[T, ...]:
    """Those that are not the very same among the known ones. It takes hardly any time for each that is."""
    if items is known:
        return ()
    ids = set(map(id, known))
    return tuple(compress(items, map(not_, map(ids.__contains__, map(id, items)))))


def parts_of(plan: Plan) -> Parts | None:
    """What the plan is made of, if it remembers it."""
    return plan.made_of if isinstance(plan.made_of, Parts) else None


def differ_in_pods(plan: Plan, other: Plan) -> bool:
    """Whether one of the plans is the other one with other pods; False also where that is not known."""
    one, two = parts_of(plan), parts_of(other)
    return bool(one and two and one.bare is two.bare)


def numbered(parts: Iterable[NodePart]) -> Iterator[Key]:
    """The devices of nodes that have interface indices, without the fabric's."""
    for part in parts:
        yield from ((space, dev) for space, devices in part.devices.items() for dev in devices)
