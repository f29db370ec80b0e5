"""The kernel's counters of lost packets in a namespace, by what each means.

Those of devices are weak evidence: they also count what no packet of a user misses, such as IPv6 router solicitations.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from testbed.kernel.links import queue_drops
from testbed.observe.program_counts import drops
from testbed.plan.objects import Kind, Space

_NET = Path("/proc/thread-self/net")
_NO_ROUTE = "no route for the packet"
_NOT_LOCAL = "destination is not a local address, and forwarding is off"
_HEADER = "packet dropped: bad header (TTL or checksum)"
_TOO_BIG = "packet must not be fragmented for the next link"
_MEANINGS = {
    "Ip.OutNoRoutes": _NO_ROUTE,
    "Ip6OutNoRoutes": _NO_ROUTE,
    "IpExt.InNoRoutes": _NO_ROUTE,
    "Ip6InNoRoutes": _NO_ROUTE,
    "Ip.InAddrErrors": _NOT_LOCAL,
    "Ip6InAddrErrors": _NOT_LOCAL,
    "Ip.InHdrErrors": _HEADER,
    "Ip6InHdrErrors": _HEADER,
    "Ip.FragFails": _TOO_BIG,
    "Ip6FragFails": _TOO_BIG,
    "Ip6InTooBigErrors": _TOO_BIG,
    "Ip.ReasmFails": "fragments not reassembled",
    "Ip6ReasmFails": "fragments not reassembled",
    "Ip.OutDiscards": "packet discarded on output",
    "Ip6OutDiscards": "packet discarded on output",
    "Ip.InDiscards": "packet discarded on input",
    "Ip6InDiscards": "packet discarded on input",
    "TcpExt.IPReversePathFilter": "packet dropped by rp_filter: its source is routed by another device",
    "IpExt.InTruncatedPkts": "packet truncated",
    "Ip6InTruncatedPkts": "packet truncated",
}
"""By counter of /proc/net/snmp, snmp6 and netstat."""
_DEVICE_COUNTERS = {
    2: "received with errors",
    3: "dropped on receipt",
    10: "sent with errors",
    11: "dropped on sending",
}
"""By column of /proc/net/dev."""
_CLASSIFIERS = ("clsact", "ingress")
"""Queueing disciplines without a queue, to which filters are attached."""
_WITHOUT_IP = (Kind.SWITCH, Kind.CABLE)
Losses = Counter[str]
"""Packets by meaning: `no route for the packet`, `eth0: packet dropped on receipt`."""


def losses(space: Space) -> Losses:
    """The losses in the calling thread's namespace, those of its eBPF programs included."""
    found: Losses = Counter()
    # A switch has no addresses: its IP discards what it gets of flooded frames.
    for name, count in _network_counters() if space.kind not in _WITHOUT_IP else ():
        if name in _MEANINGS:
            found[_MEANINGS[name]] += count
    for name, number in (line.split() for line in _text("xfrm_stat").splitlines()):
        found[f"IPsec counter {name}"] += int(number)
    for what, count in (*drops(space).items(), *_queue_drops()):
        found[what] += count
    return found


def device_losses() -> Losses:
    """The losses that the devices of the calling thread's namespace report."""
    found: Losses = Counter()
    for device, counts in _lines("dev"):
        for column, what in _DEVICE_COUNTERS.items():
            found[f"{device}: packet {what}"] += int(counts.split()[column])
    return found


def _text(name: str) -> str:
    """A file of /proc/net; empty without that protocol."""
    file = _NET / name
    return file.read_text() if file.exists() else ""


def _lines(name: str) -> Iterator[tuple[str, str]]:
    for line in _text(name).splitlines():
        head, colon, rest = line.partition(":")
        if colon:
            yield head.strip(), rest


def _network_counters() -> Iterator[tuple[str, int]]:
    # Each group is two lines: `Ip: Forwarding DefaultTTL ...` and `Ip: 1 64 ...`.
    for name in ("snmp", "netstat"):
        for (head, names), (again, values) in pairwise(_lines(name)):
            if head == again:
                for what, value in zip(names.split(), values.split(), strict=True):
                    yield f"{head}.{what}", int(value)
    for line in _text("snmp6").splitlines():
        what, value = line.split()
        yield what, int(value)


def _queue_drops() -> Iterator[tuple[str, int]]:
    for device, kind, count in queue_drops():
        by = "a tc filter" if kind in _CLASSIFIERS else f"its {kind} queue"
        yield f"{device}: packet dropped by {by}", count
