"""CPU time of the machine as a whole, from /proc/stat: busy, idle, and taken away by the hypervisor."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds over all CPUs since the machine was started; see proc_stat(5)."""

    busy: float
    """At work, for programs, for the kernel, or for packets (softirq)."""
    idle: float
    """With nothing to do, or waiting for a disk."""
    steal: float
    """Ready to work, while the hypervisor ran somebody else."""

    def __sub__(self, earlier: "CpuTimes") -> "CpuTimes":
        return CpuTimes(self.busy - earlier.busy, self.idle - earlier.idle, self.steal - earlier.steal)

    @property
    def total(self) -> float:
        return self.busy + self.idle + self.steal


def numbers(cpus: str) -> tuple[int, ...]:
    """The CPUs of a list as taskset takes it: `0,2-3`."""
    ends = (part.partition("-") for part in cpus.split(","))
    return tuple(cpu for low, _, high in ends for cpu in range(int(low), int(high or low) + 1))


def cpu_times() -> CpuTimes:
    """What the kernel has counted until now, to a hundredth of a second."""
    first, _, _ = Path("/proc/stat").read_text().partition("\n")
    # cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is in user's already.
    user, nice, system, idle, iowait, irq, softirq, steal, *_ = (int(field) / _TICKS for field in first.split()[1:])
    return CpuTimes(user + nice + system + irq + softirq, idle + iowait, steal)
