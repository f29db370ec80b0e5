"""Facts about the machine for a result: kernel, processor, memory, system."""

import os
import platform
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Facts about the machine, ready for JSON."""
    return {
        "kernel": platform.release(),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "system": _system(),
        "clock": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource") or "unknown",
        # Virtual machines have none; the host controls the frequency.
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none",
        "hypervisor": "yes" if " hypervisor" in _field("/proc/cpuinfo", "flags") else "none seen",
    }


def _read(path: str) -> str:
    """The content of a file; empty if it does not exist, or a container hides it."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return release.get("PRETTY_NAME", release["NAME"])


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return platform.machine()
