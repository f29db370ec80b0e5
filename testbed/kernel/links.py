"""What the kernel knows of the devices of a namespace: name, MTU, queueing discipline, and what they carried."""

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import HEADER, messages
from testbed.kernel.uapi import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTM_GETLINK

_IFINFOMSG = struct.Struct("=BxHiII")
_STATSMSG = struct.Struct("=BxHII")
"""Family, index and mask of struct if_stats_msg."""
_ATTRIBUTE = struct.Struct("=HH")
_IFLA_IFNAME, _IFLA_MTU, _IFLA_QDISC = 3, 4, 6
_RTM_GETSTATS, _RTM_NEWNSID, _RTM_GETNSID = 94, 88, 90
_RTGENMSG = struct.Struct("=Bxxx")
_NETNSA_NSID, _NETNSA_FD = 1, 3
_IFLA_STATS_LINK_64 = 1
_STATS = struct.Struct("=QQQQ")
"""The first four of struct rtnl_link_stats64: packets received and sent, bytes received and sent."""
_RECEIVE = 1 << 18
_TIMEOUT_S = 10


@dataclass(frozen=True)
class LinkState:
    """A device at one moment."""

    name: str
    index: int
    mtu: int
    qdisc: str
    hardware: int
    """What its frames look like: 1 is Ethernet, 772 loopback (ARPHRD_ of linux/if_arp.h)."""


@dataclass(frozen=True)
class Carried:
    """Packets and bytes, Ethernet headers included; a segment that is larger than the MTU counts as one packet."""

    packets: int
    bytes: int

    def __add__(self, more: "Carried") -> "Carried":
        return Carried(self.packets + more.packets, self.bytes + more.bytes)

    def __sub__(self, earlier: "Carried") -> "Carried":
        return Carried(self.packets - earlier.packets, self.bytes - earlier.bytes)


def links() -> Iterator[LinkState]:
    """All devices of the namespace that the calling thread is in."""
    with _socket() as sock:
        body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        sock.send(HEADER.pack(HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
        while True:
            for kind, payload in messages(sock.recv(_RECEIVE)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return
                _, hardware, index, _, _ = _IFINFOMSG.unpack_from(payload)
                found = attributes(payload, _IFINFOMSG.size)
                yield LinkState(
                    _text(found[_IFLA_IFNAME]),
                    index,
                    struct.unpack("=I", found[_IFLA_MTU])[0],
                    _text(found[_IFLA_QDISC]),
                    hardware,
                )


def carried(indices: Iterable[int]) -> dict[int, tuple[Carried, Carried]]:
    """What each of these devices of the calling thread's namespace has received and sent since it was made.

    By the devices' numbers; one that is not there is left out.
    """
    wanted = tuple(indices)
    mask = 1 << (_IFLA_STATS_LINK_64 - 1)
    size = HEADER.size + _STATSMSG.size
    found: dict[int, tuple[Carried, Carried]] = {}
    with _socket() as sock:
        for index in wanted:
            # Each request is answered before the next is sent, so no answer can be lost for want of room.
            body = _STATSMSG.pack(socket.AF_UNSPEC, 0, index, mask)
            sock.send(HEADER.pack(size, _RTM_GETSTATS, NLM_F_REQUEST, 1, 0) + body)
            for kind, payload in messages(sock.recv(_RECEIVE)):
                if kind != NLMSG_ERROR:
                    counters = attributes(payload, _STATSMSG.size)[_IFLA_STATS_LINK_64]
                    packets_in, packets_out, bytes_in, bytes_out = _STATS.unpack_from(counters)
                    found[index] = Carried(packets_in, bytes_in), Carried(packets_out, bytes_out)
    return found


def number_of(namespace: Namespace) -> int | None:
    """By which number the calling thread's namespace knows another one; None if by none.

    It has one as soon as somebody was told of a device whose other end is there.
    """
    with _socket() as sock:
        body = _RTGENMSG.pack(socket.AF_UNSPEC) + _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, _NETNSA_FD)
        body += struct.pack("=I", namespace.fd)
        sock.send(HEADER.pack(HEADER.size + len(body), _RTM_GETNSID, NLM_F_REQUEST, 1, 0) + body)
        for kind, payload in messages(sock.recv(_RECEIVE)):
            if kind == _RTM_NEWNSID:
                number = int(struct.unpack("=i", attributes(payload, _RTGENMSG.size)[_NETNSA_NSID])[0])
                return number if number >= 0 else None
    return None


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.settimeout(_TIMEOUT_S)
    sock.bind((0, 0))
    return sock


def attributes(payload: memoryview, place: int) -> dict[int, memoryview]:
    """The attributes behind a message's fixed header, which ends at `place`."""
    found: dict[int, memoryview] = {}
    while place + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, place)
        found[kind] = payload[place + _ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3
    return found


def _text(attribute: memoryview) -> str:
    return bytes(attribute).rstrip(b"\0").decode()
