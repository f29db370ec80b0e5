"""What the eBPF programs of a living lab have counted: what they forwarded, and what they dropped, and why."""

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.designs.presets.cilium import maps
from testbed.kernel.apply import Namespaces
from testbed.kernel.bpf import state_of
from testbed.kernel.links import links
from testbed.plan.objects import Plan, Space

DROPPED = "dropped it"


@dataclass(frozen=True)
class Count:
    """Packets of one kind on one node since the lab came up."""

    place: str
    program: str
    """The program that counted; empty of an endpoint's."""
    pod: str
    """The endpoint; empty where it is a program's."""
    direction: str
    """`from pods` or `to pods`."""
    reason: str
    """`forwarded`, or why they were dropped."""
    packets: int
    bytes: int
    """With Ethernet headers; a segment that is larger than the MTU counts as one packet."""

    @property
    def is_drop(self) -> bool:
        return self.reason != maps.FORWARDED


def counts(plan: Plan, namespaces: Namespaces) -> tuple[Count, ...]:
    """All that the programs of all nodes have counted; none where the design has no programs."""
    found: list[Count] = []
    for space in plan.spaces:
        if space.bpf:
            with namespaces[space.name].entered():
                found += counts_in(plan, space)
    return tuple(found)


def counts_in(plan: Plan, space: Space) -> Iterator[Count]:
    """Those of the node whose namespace the calling thread is in."""
    if space.bpf is None:
        return
    found = state_of(space.bpf, {link.name: link.index for link in links()}).maps
    for who, direction, reason, packets, size in maps.metrics(found.get("cilium_metrics", {})):
        yield Count(space.name, who, "", direction, reason, packets, size)
    # The agent numbers a node's endpoints in the order of its pods.
    pods = dict(enumerate((pod.name for pod in plan.spaces if pod.node == space.name), start=1))
    for who, direction, reason, packets, size in maps.endpoint_metrics(found.get("endpoint_metric", {})):
        yield Count(space.name, "", pods[int(who)], direction, reason, packets, size)


def drops(plan: Plan, space: Space) -> dict[str, int]:
    """By what is said of them: the packets that programs dropped on the node whose namespace the thread is in."""
    return {f"{one.program} {DROPPED}: {one.reason}": one.packets for one in counts_in(plan, space) if one.is_drop}
