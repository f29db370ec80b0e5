"""Which CPUs the two ends of a probe run on.

Left alone, the kernel's scheduler moves the ends about, and that moves the numbers more than the designs do. So:

- Latency: both ends on one CPU. A packet then costs what the kernel does for it, from the sender's call to the
  receiver's wake-up. With the ends on two CPUs each message also waits for an idle CPU to be woken, which on a virtual
  machine is several times the packet's own way and says nothing of the design.
- Throughput: each end has its own half of the CPUs, since on two machines sender and receiver work at the same time.
"""

import os
from dataclasses import dataclass

from testbed.spec.scenario import Pin, PinChoice


@dataclass(frozen=True)
class Placement:
    """CPU lists as taskset takes them; an empty one leaves the choice to the kernel."""

    source: str
    target: str


def chosen(pin: PinChoice, together: bool) -> Placement:
    """Where the ends of a probe go under a scenario's `pin`."""
    if isinstance(pin, Pin):
        return Placement(pin.source, pin.target)
    return Placement("", "") if pin == "off" else placement(together)


def placement(together: bool, cpus: set[int] | None = None) -> Placement:
    """Where the ends go on these CPUs; without any given, on those that this process may use."""
    usable = sorted(cpus or os.sched_getaffinity(0))
    if together or len(usable) == 1:
        # Not the first CPU, if there is another: on most machines it takes the devices' interrupts.
        return Placement(str(usable[-1]), str(usable[-1]))
    half = len(usable) // 2
    return Placement(_list(usable[half:]), _list(usable[:half]))


def _list(cpus: list[int]) -> str:
    return ",".join(map(str, cpus))
