"""Memory that the kernel uses for its objects."""

from pathlib import Path

_FIELDS = ("Slab", "Percpu")


def kernel_memory_kib() -> int:
    """Slab and per-CPU memory of the whole machine in KiB, from /proc/meminfo.

    It holds namespaces with their sysctls, devices, addresses and routes; the other fields do not grow with them. It
    also includes other users of the kernel and is counted in pages, so a difference is an estimate: repeat it, with
    dozens of namespaces rather than three.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in _FIELDS if name in fields)
