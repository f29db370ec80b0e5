"""The devices of a namespace: name, MTU, queueing discipline, and counters."""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import QueryRefused, ask, connect, dump
from testbed.plan.messages import attributes, text_in
from testbed.plan.objects.queues import QUEUE_DUMPS, QUEUE_HEADER, TCA_KIND
from testbed.plan.uapi import RTM_GETLINK

_IFINFOMSG = struct.Struct("=BxHiII")
_STATSMSG = struct.Struct("=BxHII")
"""Family, index and mask of struct if_stats_msg."""
_ATTRIBUTE = struct.Struct("=HH")
_IFLA_IFNAME, _IFLA_MTU, _IFLA_QDISC = 3, 4, 6
_RTM_GETSTATS, _RTM_GETNSID = 94, 90
_RTGENMSG = struct.Struct("=Bxxx")
_NETNSA_NSID, _NETNSA_FD = 1, 3
_IFLA_STATS_LINK_64 = 1
_TCA_STATS = 3
_QUEUE_STATS = struct.Struct("=QII")
"""The first three of struct tc_stats: bytes, packets, drops."""
_STATS = struct.Struct("=QQQQ")
"""The first four of struct rtnl_link_stats64: packets received and sent, bytes received and sent."""


@dataclass(frozen=True)
class LinkState:
    """A device at one moment."""

    name: str
    index: int
    mtu: int
    qdisc: str
    hardware: int
    """Hardware type: 1 is Ethernet, 772 loopback (ARPHRD_ of linux/if_arp.h)."""


@dataclass(frozen=True)
class Carried:
    """Packets and bytes, with Ethernet headers; a segment larger than the MTU counts as one packet."""

    packets: int
    bytes: int

    def __add__(self, more: "Carried") -> "Carried":
        return Carried(self.packets + more.packets, self.bytes + more.bytes)

    def __sub__(self, earlier: "Carried") -> "Carried":
        return Carried(self.packets - earlier.packets, self.bytes - earlier.bytes)


def links() -> Iterator[LinkState]:
    """All devices of the namespace that the calling thread is in."""
    with connect() as sock:
        for payload in dump(sock, RTM_GETLINK, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, hardware, index, _, _ = _IFINFOMSG.unpack_from(payload)
            found = attributes(payload, _IFINFOMSG.size)
            (mtu,) = struct.unpack("=I", found[_IFLA_MTU])
            yield LinkState(text_in(found[_IFLA_IFNAME]), index, mtu, text_in(found[_IFLA_QDISC]), hardware)


def carried(indices: Iterable[int]) -> dict[int, tuple[Carried, Carried]]:
    """What these devices of the calling thread's namespace have received and sent since they were made.

    By interface index; missing devices are left out.
    """
    mask = 1 << (_IFLA_STATS_LINK_64 - 1)
    found: dict[int, tuple[Carried, Carried]] = {}
    with connect() as sock:
        for index in indices:
            with suppress(QueryRefused):
                answer = ask(sock, _RTM_GETSTATS, _STATSMSG.pack(socket.AF_UNSPEC, 0, index, mask))
                counters = attributes(answer, _STATSMSG.size)[_IFLA_STATS_LINK_64]
                packets_in, packets_out, bytes_in, bytes_out = _STATS.unpack_from(counters)
                found[index] = Carried(packets_in, bytes_in), Carried(packets_out, bytes_out)
    return found


def queue_drops() -> Iterator[tuple[str, str, int]]:
    """Queueing disciplines of the calling thread's namespace that have dropped packets: device, kind, number."""
    with connect() as sock:
        for payload in dump(sock, *QUEUE_DUMPS[0]):
            _, index, *_ = QUEUE_HEADER.unpack_from(payload)
            found = attributes(payload, QUEUE_HEADER.size)
            count = _QUEUE_STATS.unpack_from(found[_TCA_STATS])[2] if _TCA_STATS in found else 0
            if count:
                with suppress(OSError):  # The device was removed in the meantime.
                    yield socket.if_indextoname(index), text_in(found[TCA_KIND]), count


def number_of(namespace: Namespace) -> int | None:
    """The ID of another namespace in the calling thread's namespace (nsid); None if it has none.

    The kernel assigns one when it first reports a device whose other end is there.
    """
    body = _RTGENMSG.pack(socket.AF_UNSPEC) + _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, _NETNSA_FD)
    body += struct.pack("=I", namespace.fd)
    with connect() as sock, suppress(QueryRefused):
        number = int(struct.unpack("=i", attributes(ask(sock, _RTM_GETNSID, body), _RTGENMSG.size)[_NETNSA_NSID])[0])
        return number if number >= 0 else None
    return None
