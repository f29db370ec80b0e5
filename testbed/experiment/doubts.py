"""What casts doubt on a sample that has a value: words for its column `flags`."""

from testbed.kernel.cpu import CpuTimes

STOLEN = "stolen"
"""The hypervisor gave more than STEAL_LIMIT of the CPUs' time to others."""
SATURATED = "saturated"
"""Hardly any CPU time was left idle, so that the value tells as much of this machine's CPUs as of the design."""
NO_RAW = "no-raw"
"""The program's own output could not be kept."""

STEAL_LIMIT = 0.01
IDLE_LIMIT = 0.02

MEANING = {
    STOLEN: f"the hypervisor took more than {STEAL_LIMIT:.0%} of the CPUs' time",
    SATURATED: f"less than {IDLE_LIMIT:.0%} of the CPUs' time was idle",
    NO_RAW: "the program's own output could not be kept",
}


def doubts(spent: CpuTimes) -> tuple[str, ...]:
    """What the CPU time spent while a probe ran says of its values."""
    if spent.total <= 0:
        return ()
    stolen = (STOLEN,) if spent.steal / spent.total > STEAL_LIMIT else ()
    return (*stolen, SATURATED) if spent.idle / spent.total < IDLE_LIMIT else stolen
