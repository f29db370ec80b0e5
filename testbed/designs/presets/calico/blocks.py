"""Calico's address management: a block of the pod range for each node, independent of Kubernetes' share.

A block has at least 64 addresses (/26, and /122 for IPv6). The first is the node's own address on its tunnel device;
pods use the rest. Freed addresses queue at the end of the block's list of free addresses, as in Calico's blocks, so the
address that has been free for the longest time is allocated next.
"""

from collections.abc import Collection

from testbed.plan import addressing
from testbed.plan.addressing import Ipam, Layout, layout
from testbed.plan.allocation import Allocator
from testbed.spec.topology import Topology

BLOCK_BITS = 6
"""Bits of an address within a block: 64 addresses."""
IPAM = Ipam(
    first=1,
    with_last=True,
    order="queue",
    what="block {ranges}",
    remedy="add the pod to another node, or recreate the lab, which makes blocks as large as the fullest node needs",
)


def lay_out(topology: Topology, numbers: Allocator | None = None) -> Layout:
    """A layout with blocks in the nodes' order, all of one size: 64 addresses, or more if the fullest node needs more.

    The size never changes afterwards. Raises Exhausted if a node's block is full.
    """
    numbers = numbers or Allocator()
    fullest = max(len(topology.pods_of(node)) for node in topology.nodes)
    bits = numbers.settle("blocks", ("bits",), max(BLOCK_BITS, fullest.bit_length()))
    # Never larger than Kubernetes' share, so that there is one for each node.
    ranges = [(cidr, max(prefix, cidr.max_prefixlen - bits)) for cidr, prefix in topology.cluster.ranges]
    return layout(topology, numbers, IPAM, ranges)


def with_pods(before: Layout, topology: Topology, names: Collection[str], numbers: Allocator) -> Layout:
    """The layout of a topology that differs only in the pods of these nodes. Raises Exhausted."""
    return addressing.with_pods(before, topology, names, numbers, IPAM)
