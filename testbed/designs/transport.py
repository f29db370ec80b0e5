"""The interface of transports: how nodes reach each other's pods."""

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
    """The input of a transport."""

    draft: Draft
    layout: Layout
    mtu: int
    """MTU of the pods and the tunnels, in bytes."""
    options: TransportSpec
    delivers: Delivers
    node_device: str
    """The device that has the node's address on the fabric."""

    @property
    def nodes(self) -> tuple[NodePlace, ...]:
        """The nodes to plan, with their pods: all, or only those whose pods change."""
        return self.draft.nodes

    def tunnelled(self, node: NodePlace) -> Iterator[NodePlace]:
        """The other nodes whose pods are reached through a tunnel.

        Adds direct routes to the pods of all other nodes (mode cross-subnet).
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
    """The device that sends them from the first node; empty for its device on the fabric."""
    tunnel: Tunnel | None
    """The encapsulation, if any."""
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
    """Real networks that work in this way."""
    needs: tuple[str, ...]
    """Names of kernel features, see `testbed.kernel.features`."""
    takes: frozenset[Delivers]
    """The attachments that it works with, by what they deliver."""
    join: Callable[[Joining], None]
    """Adds the devices and routes to the draft by which each node reaches the pods of all others."""
    knows_pods: frozenset[Delivers] = frozenset()
    """The attachments with which nodes have entries for single pods of other nodes, so that a pod that is added or
    removed changes all nodes. With others the layout given to it has no pods."""
    leg: Callable[[Plan, Layout, TransportSpec, NodePlace, NodePlace, int], Leg] = _straight
    """How packets of family 4 or 6 travel from one node to another."""
    room: Callable[[int, Layout], int] = _fabric_mtu
    """The largest MTU of pods, in bytes, for the fabric's MTU and the families in use."""
    needs_there: Callable[[Layout], tuple[str, ...]] = _nothing_needed
    """Names of additional kernel features that it needs for this layout."""
    parameters: tuple[str, ...] = ()
    """Names of the parameters that a user may set."""
    carried: Callable[[Layout], Mapping[str, tuple[Network, ...]]] = _nothing_carried
    """Ranges that the fabric's routers have routes for, by node."""
    by_router: bool = False
    """Whether packets between nodes of one subnet also go through a router."""
    any_family: bool = False
    """Whether pods may use an address family that the fabric does not have."""
    needs_router: bool = False
    """Whether nodes have sessions with a router, even if packets do not go through it."""
    pod_families: tuple[int, ...] = (4, 6)
    """The address families that pods may use."""
    one_subnet: str = ""
    """If all nodes must be in one subnet, the reason."""
    one_subnet_of: tuple[int, str] | None = None
    """A family of pods' addresses that requires all nodes in one subnet, and the reason."""
    outer_families: tuple[int, ...] = (4, 6)
    """The families of which the fabric must have at least one."""
    claims: bool = True
    """Whether it predicts the way of packets; otherwise any way is right."""
    page: str = ""
    """Documentation, shown by `testbed designs`."""


def skips(layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace) -> bool:
    """Whether packets between these nodes go without a tunnel."""
    return options.mode == CROSS_SUBNET and layout.are_neighbours(one, other)


def others(layout: Layout, node: NodePlace) -> Iterator[NodePlace]:
    """All nodes except this one."""
    return (other for other in layout.nodes if other.name != node.name)


def outer_family(pod_family: int, layout: Layout) -> int:
    """The family of a tunnel's outer header: that of the packet inside, if the fabric has it."""
    return layout.outer_family(pod_family)


def outer_families(layout: Layout) -> tuple[int, ...]:
    """The families of the outer headers of all tunnels."""
    return layout.outer_families


def less(headers: Mapping[int, int]) -> Callable[[int, Layout], int]:
    """A `Transport.room` for tunnels with these header sizes in bytes, by outer family."""
    return lambda fabric_mtu, layout: fabric_mtu - max(headers[family] for family in outer_families(layout))


def own_family_less(headers: Mapping[int, int]) -> Callable[[int, Layout], int]:
    """As `less`, for tunnels whose outer header has the family of the inner packet."""
    return lambda fabric_mtu, layout: fabric_mtu - max(headers[cidr.version] for cidr in layout.pod_cidrs)
