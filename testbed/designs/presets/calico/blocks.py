"""Calico's address management: a block of the pod range for each node, independent of Kubernetes' share.

A block has at least 64 addresses (/26, and /122 for IPv6). The first is the node's own address on its tunnel device;
pods use the rest.
"""

from collections.abc import Collection
from dataclasses import replace

from testbed.plan import addressing
from testbed.plan.addressing import Layout, NodePlace, at, layout, pods_domain, share
from testbed.plan.allocation import Allocator, Room
from testbed.spec.topology import Topology
from testbed.spec.types import Network

BLOCK_BITS = 6
"""Bits of an address within a block: 64 addresses."""


def lay_out(topology: Topology, numbers: Allocator | None = None) -> Layout:
    """A layout with blocks in the nodes' order, all of one size: 64 addresses, or more if the fullest node needs more.

    The size never changes afterwards. Raises Exhausted if a node has used up its block.
    """
    numbers = numbers or Allocator()
    addresses = layout(topology, numbers)
    fullest = max(len(node.pods) for node in addresses.nodes)
    bits = numbers.settle("blocks", ("bits",), max(BLOCK_BITS, fullest.bit_length()))
    prefixes = [
        # Never larger than Kubernetes' share, so that there is one for each node.
        (cidr, max(prefix, cidr.max_prefixlen - bits))
        for cidr, prefix in topology.cluster.ranges
    ]
    nodes = []
    for node in addresses.nodes:
        blocks = tuple(share(cidr, prefix, node.number) for cidr, prefix in prefixes)
        _check(node, blocks, numbers)
        nodes.append(_with_blocks(node, blocks))
    return replace(addresses, nodes=tuple(nodes))


def with_pods(before: Layout, topology: Topology, names: Collection[str], numbers: Allocator) -> Layout:
    """The layout of a topology that differs only in the pods of these nodes. Raises Exhausted."""
    addresses = addressing.with_pods(before, topology, names, numbers, first=1)
    for node in addresses.nodes:
        if node.name in names:
            _check(node, node.pod_cidrs, numbers)
    return addresses


def _check(node: NodePlace, blocks: tuple[Network, ...], numbers: Allocator) -> None:
    size = min(block.num_addresses for block in blocks) - 1
    what = f"pod address on {node.name} (block {', '.join(map(str, blocks))})"
    fix = "add the pod to another node, or recreate the lab, which makes blocks as large as the fullest node needs"
    numbers.check(pods_domain(node.number), Room(size, what, fix))


def _with_blocks(node: NodePlace, blocks: tuple[Network, ...]) -> NodePlace:
    pods = (replace(place, addresses=tuple(at(block, place.number) for block in blocks)) for place in node.pods)
    return replace(node, pod_cidrs=blocks, pods=tuple(pods))
