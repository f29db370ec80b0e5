"""The CPUs of the two ends of a probe.

Without placement, the kernel's scheduler moves the ends between CPUs, which affects results more than the designs do.

- Latency: both ends on one CPU. The value is then the kernel's work for a packet, from the sender's call to the
  receiver's wake-up. With the ends on two CPUs, each message also waits for an idle CPU to wake up, which on a virtual
  machine takes several times as long as the packet's path and does not depend on the design.
- Throughput: each end has half of the CPUs, because on two machines sender and receiver work at the same time.
"""

import os
from dataclasses import dataclass

from testbed.spec.scenario import Pin, PinChoice


@dataclass(frozen=True)
class Placement:
    """CPU lists as for taskset; an empty one leaves the choice to the kernel."""

    source: str
    target: str


def chosen(pin: PinChoice, together: bool) -> Placement:
    """The placement of a probe's ends with a scenario's `pin`."""
    if isinstance(pin, Pin):
        return Placement(pin.source, pin.target)
    return Placement("", "") if pin == "off" else placement(together)


def placement(together: bool, cpus: set[int] | None = None) -> Placement:
    """The placement of the ends on `cpus`; by default on those that this process may use."""
    usable = sorted(cpus or os.sched_getaffinity(0))
    if together or len(usable) == 1:
        # Not the first CPU if there are others: on most machines it handles device interrupts.
        return Placement(str(usable[-1]), str(usable[-1]))
    half = len(usable) // 2
    return Placement(_list(usable[half:]), _list(usable[:half]))


def _list(cpus: list[int]) -> str:
    return ",".join(map(str, cpus))
