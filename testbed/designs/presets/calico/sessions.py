"""The BGP sessions: every node with all others (full mesh), with route reflectors (RFC 4456), or with its routers.

In the last case the routers also have sessions with each other. A session uses the address family of the pods whose
routes it carries.
"""

from collections.abc import Iterator
from dataclasses import replace

from testbed.designs.bgp import Peer, Speaker, router_id, session_name
from testbed.designs.transport import others
from testbed.plan.addressing import Layout, NodePlace, RouterPlace
from testbed.plan.segments import Port
from testbed.spec.types import Address

NODE_AS = 64512
"""The AS of all nodes, as in Calico: the first for private use (RFC 6996)."""
FIRST_ROUTER_AS = 4_200_000_000
"""The AS of the first router, the first four-byte one for private use; each router has its own."""
CLUSTER_ID = "244.0.0.1"
"""Cluster id of the route reflectors, as in Calico's documentation."""
POD_DEVICES = "cali*"

Speakers = dict[str, Speaker]
"""Speakers by node or router."""


def families(layout: Layout) -> tuple[int, ...]:
    """The address families of pods."""
    return tuple(sorted(cidr.version for cidr in layout.pod_cidrs))


def mesh(layout: Layout) -> Speakers:
    """Sessions between all nodes."""
    return {node.name: _node(layout, node, _meshed(layout, node)) for node in layout.nodes}


def reflectors(layout: Layout) -> tuple[NodePlace, ...]:
    """The route reflectors: the first two nodes, or the first of two."""
    in_order = tuple(sorted(layout.nodes, key=lambda node: node.number))
    return in_order[:2] if len(in_order) > 2 else in_order[:1]


def reflected(layout: Layout) -> Speakers:
    """Sessions of every node with the route reflectors, and between these."""
    central = reflectors(layout)
    speakers = {}
    for node in layout.nodes:
        peers = [
            _with(node, other, family, "Node", is_client=node in central and other not in central)
            for other in others(layout, node)
            if node in central or other in central
            for family in families(layout)
        ]
        speakers[node.name] = replace(_node(layout, node, peers), cluster_id=CLUSTER_ID if node in central else "")
    return speakers


def with_routers(layout: Layout) -> Speakers:
    """Sessions of nodes and routers with the routers on their links."""
    speakers = {}
    for node in layout.nodes:
        peers = [
            _at(port, step.to, family, router_as(layout, step.to.owner), "Global")
            for port in node.ports
            for step in layout.routing.first_steps([port])
            for family in families(layout)
        ]
        speakers[node.name] = replace(_node(layout, node, peers), accepts_own_as=True, sources=sources(node))
    for router in layout.routers:
        own = router_id((address.ip for address in router.addresses), router.serial)
        peers = list(_of_router(layout, router))
        speakers[router.name] = Speaker(
            own, router_as(layout, router.name), layout.pod_cidrs, tuple(peers), multihop=False
        )
    return speakers


def sources(node: NodePlace) -> tuple[Address, ...]:
    """The preferred source addresses of a node's routes, if not those of its links."""
    return tuple(address.ip for address in node.addresses) if node.is_on_loopback else ()


def router_as(layout: Layout, name: str) -> int:
    """The autonomous system of a router."""
    return FIRST_ROUTER_AS + layout.places[name].number


def _meshed(layout: Layout, node: NodePlace) -> Iterator[Peer]:
    for other in others(layout, node):
        for family in families(layout):
            yield _with(node, other, family, "Mesh")


def _node(layout: Layout, node: NodePlace, peers: Iterator[Peer] | list[Peer]) -> Speaker:
    own = router_id((address.ip for address in node.addresses), node.serial)
    return Speaker(own, NODE_AS, layout.pod_cidrs, tuple(peers), node.ranges, POD_DEVICES)


def _with(node: NodePlace, other: NodePlace, family: int, kind: str, is_client: bool = False) -> Peer:
    """A session between two nodes. The one with the lower address connects, as with Calico."""
    here, there = node.address(family), other.address(family)
    return Peer(session_name(kind, there), here, there, NODE_AS, int(here) > int(there), is_client)


def _of_router(layout: Layout, router: RouterPlace) -> Iterator[Peer]:
    """Sessions of a router. It waits for nodes to connect, and for routers with a lower address."""
    routers = layout.underlay.routers
    for port in router.ports:
        for other in layout.segments[port.segment].ports:
            if other.owner == router.name:
                continue
            for family in families(layout):
                here, there = port.address(family), other.address(family)
                if other.owner in routers:
                    peer = _at(port, other, family, router_as(layout, other.owner), "Router")
                    yield replace(peer, passive=int(here) > int(there))
                else:
                    yield replace(_at(port, other, family, NODE_AS, "Node"), passive=True)


def _at(port: Port, other: Port, family: int, asn: int, kind: str) -> Peer:
    """A session between two ends of one link."""
    there = other.address(family)
    return Peer(session_name(kind, there), port.address(family), there, asn)
