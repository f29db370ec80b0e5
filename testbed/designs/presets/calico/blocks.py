"""Calico's address management: blocks of the pod range for each node, independent of Kubernetes' share.

A block has 64 addresses (/26, and /122 for IPv6). Each node has a home block, whose first address is the node's own on
its tunnel device; pods use the rest. A new pod gets an address of the first block of its node that has a free one. If
all are full, the node gets a further block of the pod range, of which pods use all addresses. A further block without
pods is released. Within a block freed addresses queue at the end of its list of free addresses, as in Calico's blocks,
so the address that has been free for the longest time is allocated next.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

from testbed.plan.addressing import Layout, NodePlace, PodPlace, Share, at, layout, share, unchanged
from testbed.plan.allocation import Allocator, Room
from testbed.spec.topology import Pod, Topology
from testbed.spec.types import Network

BLOCK_BITS = 6
"""Bits of an address within a block: 64 addresses."""
HOME = 0
"""The slot of a node's home block; its further blocks have slots from 1."""
_BLOCKS = "blocks"
"""Domain of blocks by node and slot; a number is the index of a block in the pool."""

Slots = dict[int, int]
"""The blocks of a node: index in the pool by slot."""
Filled = dict[int, list[str]]
"""The pods in each block of a node, by slot."""


@dataclass(frozen=True)
class Pool:
    """The pod ranges, each with the prefix length of its blocks. A block has a range of each family."""

    ranges: tuple[tuple[Network, int], ...]

    @classmethod
    def of(cls, topology: Topology) -> "Pool":
        """The pool of a topology. A block is never larger than Kubernetes' share, so there is one for each node."""
        shares = topology.cluster.ranges
        return cls(tuple((cidr, max(prefix, cidr.max_prefixlen - BLOCK_BITS)) for cidr, prefix in shares))

    @property
    def room(self) -> Room:
        size = min(1 << (prefix - cidr.prefixlen) for cidr, prefix in self.ranges)
        pool = " and ".join(str(cidr) for cidr, _ in self.ranges)
        return Room(size, f"block of {pool}", "remove pods, or recreate the lab with a larger pod_cidr")

    @property
    def block_size(self) -> int:
        """Number of addresses of a block."""
        return min(1 << (cidr.max_prefixlen - prefix) for cidr, prefix in self.ranges)

    def block(self, index: int) -> tuple[Network, ...]:
        return tuple(share(cidr, prefix, index) for cidr, prefix in self.ranges)


def lay_out(topology: Topology, numbers: Allocator | None = None) -> Layout:
    """A layout with home blocks in the nodes' order, followed by further blocks. Raises Exhausted if none is left."""
    return layout(topology, numbers, _in_blocks)


def with_pods(before: Layout, topology: Topology, names: Collection[str], numbers: Allocator) -> Layout | None:
    """The layout of a topology that differs only in the pods of these nodes; None if the blocks of a node change."""
    pool, known = Pool.of(topology), _slots(names, numbers)
    nodes: list[NodePlace] = []
    for node in before.nodes:
        if node.name in known:
            pods, slots = topology.pods_of(node.name), known[node.name]
            filled = _filled(pool, pods, slots, numbers)
            if filled.keys() != slots.keys():
                return None
            node = replace(node, pods=_places(pool, pods, filled, slots, numbers, node.pods))
        nodes.append(node)
    return before.with_pods(topology, tuple(nodes))


def fill(pods: Iterable[str], held: Mapping[int, Collection[str]], size: int) -> Filled:
    """The pods of a node in its blocks. Pods that have an address keep it; the others fill the first blocks with room.

    `held` are the names that have an address, by slot. `size` is the number of addresses of a block; pods cannot use
    the first one of the home block. If all blocks are full, slots are added; empty further blocks are left out.
    """
    slot_of = {pod: slot for slot, names in held.items() for pod in names}
    filled: Filled = {slot: [] for slot in sorted({HOME, *held})}
    fresh: list[str] = []
    for pod in pods:
        (filled[slot_of[pod]] if pod in slot_of else fresh).append(pod)
    new_slots = (slot for slot in count() if slot not in filled)
    for slot in chain(tuple(filled), new_slots):
        if not fresh:
            break
        names = filled.setdefault(slot, [])
        room = size - (slot == HOME) - len(names)
        names += fresh[:room]
        del fresh[:room]
    return {slot: names for slot, names in filled.items() if names or slot == HOME}


def _in_blocks(topology: Topology, nodes: Mapping[str, int], numbers: Allocator) -> dict[str, Share]:
    pool, known = Pool.of(topology), _slots(nodes, numbers)
    pods = {name: topology.pods_of(name) for name in nodes}
    filled = {name: _filled(pool, pods[name], known[name], numbers) for name in nodes}
    further = [(name, slot) for name, own in filled.items() for slot in own if slot != HOME]
    wanted = [*((name, HOME) for name in nodes), *further]
    indices = numbers.numbers(_BLOCKS, ((name, str(slot)) for name, slot in wanted), pool.room)
    slots: dict[str, Slots] = {name: {} for name in nodes}
    for (name, slot), index in zip(wanted, indices, strict=True):
        slots[name][slot] = index
    shares = {}
    for name, own in slots.items():
        home, *more = (pool.block(own[slot]) for slot in sorted(own))
        places = _places(pool, pods[name], filled[name], own, numbers)
        shares[name] = Share(home, places, tuple(chain.from_iterable(more)))
    return shares


def _slots(nodes: Collection[str], numbers: Allocator) -> dict[str, Slots]:
    """The blocks of these nodes, now or in the previous plan."""
    found: dict[str, Slots] = {name: {} for name in nodes}
    for (name, slot), index in numbers.known(_BLOCKS).items():
        if name in found:
            found[name][int(slot)] = index
    return found


def _filled(pool: Pool, pods: Iterable[Pod], slots: Slots, numbers: Allocator) -> Filled:
    held = {slot: [name for (name,) in numbers.known(_domain(index))] for slot, index in slots.items()}
    return fill([pod.id for pod in pods], held, pool.block_size)


def _places(
    pool: Pool, pods: Iterable[Pod], filled: Filled, slots: Slots, numbers: Allocator, before: Iterable[PodPlace] = ()
) -> tuple[PodPlace, ...]:
    """The pods of a node with their addresses; unchanged ones are those of `before`."""
    by_name, known = {pod.id: pod for pod in pods}, {place.number: place for place in before}
    places: dict[str, PodPlace] = {}
    for slot, names in filled.items():
        block, is_home = pool.block(slots[slot]), slot == HOME
        # Within a block of the pool, fill() leaves no pod without an address.
        room = Room(pool.block_size - is_home, f"pod address in {', '.join(map(str, block))}", "", order="queue")
        indices = numbers.numbers(_domain(slots[slot]), ((name,) for name in names), room)
        for name, index in zip(names, indices, strict=True):
            pod, number = by_name[name], slot * pool.block_size + index + 1
            places[name] = unchanged(known.get(number), pod) or PodPlace(
                pod, number, tuple(at(cidr, index + is_home) for cidr in block)
            )
    return tuple(places[name] for name in by_name)


def _domain(block: int) -> str:
    """The domain of the addresses of a block."""
    return f"pods of block {block}"
