"""How much memory the kernel has in use for its objects."""

from pathlib import Path

_FIELDS = ("Slab", "Percpu")


def kernel_memory_kib() -> int:
    """Slabs and per-CPU areas of the whole machine, in KiB, from /proc/meminfo.

    That is where the kernel keeps namespaces with their settings, devices, addresses and routes; its other fields do
    not grow with them. Whatever else the machine does is in it too, and memory comes in pages, so a difference over a
    short time is an estimate: to be taken several times, and of dozens of namespaces rather than of three.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in _FIELDS if name in fields)
