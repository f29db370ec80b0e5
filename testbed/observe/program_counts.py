"""Counters of the eBPF programs of a living lab: packets forwarded, and dropped by reason."""

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.kernel.bpf import state_of
from testbed.kernel.links import links
from testbed.kernel.refusal import Namespaces
from testbed.plan.objects import FORWARDED, KeyPart, Plan, Space

DROPPED = "dropped the packet"
_COUNT = struct.Struct("=QQ")


@dataclass(frozen=True)
class Count:
    """Packets of one kind on one node since the lab came up."""

    place: str
    program: str
    """The program that counted; empty for an endpoint's count."""
    pod: str
    """The endpoint; empty for a program's count."""
    direction: str
    """`from pods` or `to pods`."""
    reason: str
    """`forwarded`, or the reason of the drop."""
    packets: int
    bytes: int
    """With Ethernet headers; a segment larger than the MTU counts as one packet."""

    @property
    def is_drop(self) -> bool:
        return self.reason != FORWARDED


def counts(plan: Plan, namespaces: Namespaces) -> tuple[Count, ...]:
    """The counts of all nodes; empty if the design has no eBPF programs."""
    found: list[Count] = []
    for space in plan.spaces:
        if space.bpf:
            with namespaces[space.name].entered():
                found += counts_in(space)
    return tuple(found)


def counts_in(space: Space) -> Iterator[Count]:
    """The counts of the node whose namespace the calling thread is in."""
    if space.bpf is None:
        return
    found = state_of(space.bpf, {link.name: link.index for link in links()}).maps
    for counting in space.bpf.counts:
        numbers = {tuple(_number(part, key) for part in counting.key): key for key in found.get(counting.map, {})}
        for values, key in sorted(numbers.items()):
            parts = {part.about: _name(part, value) for part, value in zip(counting.key, values, strict=True)}
            reason = parts.get("reason", FORWARDED)
            total = _sum(found[counting.map][key])
            yield Count(space.name, parts.get("program", ""), parts.get("pod", ""), parts["direction"], reason, *total)


def _number(part: KeyPart, key: bytes) -> int:
    return int.from_bytes(key[part.offset : part.offset + part.size], sys.byteorder)


def _name(part: KeyPart, value: int) -> str:
    return dict(part.names).get(value, f"{part.about} {value}")


def _sum(values: bytes) -> tuple[int, int]:
    """Packets and bytes over all CPUs."""
    packets, size = zip(*_COUNT.iter_unpack(values), strict=True)
    return sum(packets), sum(size)


def drops(space: Space) -> dict[str, int]:
    """Packets that programs dropped in the calling thread's namespace, by program and reason in words."""
    return {f"{one.program} {DROPPED}: {one.reason}": one.packets for one in counts_in(space) if one.is_drop}
