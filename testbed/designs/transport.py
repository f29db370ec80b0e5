"""What a transport is: how nodes reach each other's pods."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from testbed.designs.attachment import Delivers
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import Draft
from testbed.plan.fabric import UPLINK
from testbed.plan.objects import Plan
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec
from testbed.spec.types import Network

CROSS_SUBNET = "cross-subnet"


class Joining(NamedTuple):
    """What a transport is to work on."""

    draft: Draft
    layout: Layout
    mtu: int
    """Of the pods, and so of tunnels."""
    options: TransportSpec
    delivers: Delivers
    node_device: str
    """That of each node which has its address on the fabric."""

    @property
    def nodes(self) -> tuple[NodePlace, ...]:
        """Those that are to be worked on, with their pods: all, or those alone whose pods are planned anew."""
        return self.draft.nodes

    def tunnelled(self, node: NodePlace) -> Iterator[NodePlace]:
        """The nodes whose pods are reached through a tunnel: all others, but where it is to be left out.

        To the pods of those that it is left out for there are routes afterwards.
        """
        for remote in others(self.layout, node):
            if skips(self.layout, self.options, node, remote):
                for cidr in remote.pod_cidrs:
                    self.draft[node.name].route(cidr, UPLINK, via=remote.address(cidr.version))
            else:
                yield remote


class Leg(NamedTuple):
    """How packets of one family travel from one node to another."""

    device: str
    """By which they leave the first node; empty if by the one on the fabric."""
    tunnel: Tunnel | None
    """What is around them, if anything."""
    outer: int
    """The family of the outermost header."""


def straight(family: int) -> Leg:
    """A leg without a tunnel."""
    return Leg("", None, family)


def _straight(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    return straight(family)


def _nothing_carried(layout: Layout) -> Mapping[str, tuple[Network, ...]]:
    return {}


def _nothing_needed(layout: Layout) -> tuple[str, ...]:
    return ()


def _fabric_mtu(fabric_mtu: int, layout: Layout) -> int:
    return fabric_mtu


@dataclass(frozen=True)
class Transport:
    """How nodes reach each other's pods."""

    name: str
    summary: str
    """One line."""
    like: tuple[str, ...]
    """Who does it so in real clusters."""
    needs: tuple[str, ...]
    """Names of kernel features, see `testbed.kernel.features`."""
    takes: frozenset[Delivers]
    """From which attachments."""
    join: Callable[[Joining], None]
    """Adds to the draft what lets each node of the layout reach all others' pods."""
    knows_pods: frozenset[Delivers] = frozenset()
    """From which attachments it tells nodes of single pods of others, so that a pod that comes or goes matters to all.
    From others the layout that it is given has no pods."""
    leg: Callable[[Plan, Layout, TransportSpec, NodePlace, NodePlace, int], Leg] = _straight
    """How packets of family 4 or 6 travel from a node to another one."""
    room: Callable[[int, Layout], int] = _fabric_mtu
    """The largest packet of pods that fits the fabric's, in bytes, with all the families in use."""
    needs_there: Callable[[Layout], tuple[str, ...]] = _nothing_needed
    """Names of the kernel features that it needs besides on some layouts alone."""
    parameters: tuple[str, ...] = ()
    """Names of what a user may set."""
    carried: Callable[[Layout], Mapping[str, tuple[Network, ...]]] = _nothing_carried
    """By node: ranges that the fabric's routers are to know."""
    by_router: bool = False
    """Whether packets go by way of a router between nodes of one subnet, too."""
    any_family: bool = False
    """Whether pods may use an address family that the fabric does not have."""
    needs_router: bool = False
    """Whether nodes speak with a router, though packets may go without."""
    pod_families: tuple[int, ...] = (4, 6)
    """Those that pods may use."""
    one_subnet: str = ""
    """Why all nodes must be in one subnet, if so."""
    one_subnet_of: tuple[int, str] | None = None
    """A family of pods' addresses with which all nodes must be in one subnet, and why."""
    outer_families: tuple[int, ...] = (4, 6)
    """Those of which the fabric must have one."""
    claims: bool = True
    """Whether it says by which way packets go; otherwise any way is right."""
    page: str = ""
    """All that there is to say of it."""


def skips(layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace) -> bool:
    """Whether packets between these nodes go without a tunnel."""
    return options.mode == CROSS_SUBNET and layout.are_neighbours(one, other)


def others(layout: Layout, node: NodePlace) -> Iterator[NodePlace]:
    """All nodes but this one."""
    return (other for other in layout.nodes if other.name != node.name)


def outer_family(pod_family: int, layout: Layout) -> int:
    """The family of a tunnel's outer header: that of the packet inside, if the fabric has it."""
    return layout.outer_family(pod_family)


def outer_families(layout: Layout) -> tuple[int, ...]:
    """Those of the tunnels for all pods."""
    return layout.outer_families


def less(headers: Mapping[int, int]) -> Callable[[int, Layout], int]:
    """Room for pods' packets where so many bytes of headers are around them, by outer family."""
    return lambda fabric_mtu, layout: fabric_mtu - max(headers[family] for family in outer_families(layout))


def own_family_less(headers: Mapping[int, int]) -> Callable[[int, Layout], int]:
    """As `less`, where the outer header is always of the family of the packet inside."""
    return lambda fabric_mtu, layout: fabric_mtu - max(headers[cidr.version] for cidr in layout.pod_cidrs)
