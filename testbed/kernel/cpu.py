"""CPU time of the whole machine: busy, idle, and stolen by the hypervisor; and of the programs in a capsule."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds over all CPUs since boot; see proc_stat(5)."""

    busy: float
    """Programs, kernel, and packets (softirq)."""
    idle: float
    """Idle, or waiting for a disk."""
    steal: float
    """Ready to run while the hypervisor ran another guest."""
    programs: float = 0.0
    """The part of `busy` that the programs in /proc took, running or ended: in a capsule, the lab's and the probe's.

    Packets are in it where a program's own system call forwards them, as it usually does.
    """

    def __sub__(self, earlier: "CpuTimes") -> "CpuTimes":
        return CpuTimes(
            self.busy - earlier.busy,
            self.idle - earlier.idle,
            self.steal - earlier.steal,
            self.programs - earlier.programs,
        )

    @property
    def total(self) -> float:
        return self.busy + self.idle + self.steal


def numbers(cpus: str) -> tuple[int, ...]:
    """The CPUs of a list in taskset's format: `0,2-3`."""
    ends = (part.partition("-") for part in cpus.split(","))
    return tuple(cpu for low, _, high in ends for cpu in range(int(low), int(high or low) + 1))


def cpu_times() -> CpuTimes:
    """The current counters, to a hundredth of a second."""
    first, _, _ = Path("/proc/stat").read_text().partition("\n")
    # cpu user nice system idle iowait irq softirq steal guest guest_nice; user includes guest time.
    user, nice, system, idle, iowait, irq, softirq, steal, *_ = (int(field) / _TICKS for field in first.split()[1:])
    return CpuTimes(user + nice + system + irq + softirq, idle + iowait, steal, _of_programs())


def _of_programs() -> float:
    """Seconds of all programs in /proc; of those that have ended, by their parents."""
    ticks = 0
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):  # It has ended meanwhile.
                # The name in parentheses may contain spaces. utime stime cutime cstime are the fields 14 to 17.
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS
