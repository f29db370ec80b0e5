"""Reasons to doubt a sample that has a value: words for its column `flags`."""

from testbed.kernel.cpu import CpuTimes

STOLEN = "stolen"
"""The hypervisor took more than STEAL_LIMIT of the CPUs' time."""
SATURATED = "saturated"
"""Less than IDLE_LIMIT of the CPUs' time was idle, so the value depends on this machine's CPUs as much as on the
design."""
NO_RAW = "no-raw"
"""The program's output could not be saved."""

STEAL_LIMIT = 0.01
IDLE_LIMIT = 0.02

MEANING = {
    STOLEN: f"the hypervisor took more than {STEAL_LIMIT:.0%} of the CPUs' time",
    SATURATED: f"less than {IDLE_LIMIT:.0%} of the CPUs' time was idle",
    NO_RAW: "the program's output could not be saved",
}


def doubts(spent: CpuTimes) -> tuple[str, ...]:
    """The flags that follow from the CPU time spent while a probe ran."""
    if spent.total <= 0:
        return ()
    stolen = (STOLEN,) if spent.steal / spent.total > STEAL_LIMIT else ()
    return (*stolen, SATURATED) if spent.idle / spent.total < IDLE_LIMIT else stolen
