"""Calico's address management: a block of the pod range for each node, whatever share Kubernetes gave it.

Blocks are as small as 64 addresses (/26, and /122 of IPv6), and a node's own address inside its tunnel comes out of its
block as well: it is the first, pods follow.
"""

from collections.abc import Iterator
from dataclasses import replace

from testbed.plan.addressing import Layout, NodePlace, PodPlace, at, layout, share
from testbed.spec.topology import Topology
from testbed.spec.types import Network

BLOCK_BITS = 6
"""Of an address within a block: 64 of them."""


def lay_out(topology: Topology) -> Layout:
    """The blocks in the nodes' order, all of one size: 64 addresses, or as many more as the fullest node needs."""
    addresses = layout(topology)
    fullest = max(len(node.pods) for node in addresses.nodes)
    bits = max(BLOCK_BITS, fullest.bit_length())
    prefixes = [
        # Never more than Kubernetes' share, of which there is one for each node.
        (cidr, max(prefix, cidr.max_prefixlen - bits))
        for cidr, prefix in topology.cluster.ranges
    ]
    nodes = tuple(
        _with_blocks(node, tuple(share(cidr, prefix, index) for cidr, prefix in prefixes))
        for index, node in enumerate(addresses.nodes)
    )
    return replace(addresses, nodes=nodes)


def _with_blocks(node: NodePlace, blocks: tuple[Network, ...]) -> NodePlace:
    return replace(node, pod_cidrs=blocks, pods=tuple(_pods(node, blocks)))


def _pods(node: NodePlace, blocks: tuple[Network, ...]) -> Iterator[PodPlace]:
    for number, place in enumerate(node.pods, start=1):
        yield replace(place, addresses=tuple(at(block, number) for block in blocks))
