"""Packet sockets that record every frame of a namespace, on every device, with the kernel's own time."""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from testbed.kernel.namespace import Namespace
from testbed.observe.frames import Packet, decoded

_ETH_P_ALL = 0x0003
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_BUFFER = 8 << 20
_TIMESPEC = struct.Struct("=qq")
_WITH_ETHERNET = (1, 772)
"""Hardware types of Ethernet and of loopback (ARPHRD_)."""


@dataclass(frozen=True)
class Sighting:
    """A frame at one device, at one moment."""

    time: int
    """In nanoseconds since 1970: a float would not tell two devices apart."""
    place: str
    device: str
    out: bool
    packet: Packet
    frame: bytes


def tap(namespace: Namespace) -> socket.socket:
    """Records every frame of a namespace from now on, each with the time at which the kernel saw it."""
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    tap.setblocking(False)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with suppress(PermissionError):  # Root of a user namespace has to do with what everybody has.
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    return tap


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970; 0 without a time stamp."""
    for level, number, data in ancillary:
        if (level, number) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


def recorded(place: str, tap: socket.socket) -> Iterator[Sighting]:
    """What a tap has recorded. Within one namespace the order is that of the tap, whatever the times say."""
    latest = 0
    while True:
        try:
            frame, ancillary, _, (device, kind, packet_type, hardware, _) = tap.recvmsg(65_536, 64)
        except BlockingIOError:
            return
        latest = max(latest, _stamp(ancillary))
        if hardware not in _WITH_ETHERNET:  # Devices that carry bare IP packets.
            frame = bytes(12) + kind.to_bytes(2, "big") + frame
        if packet := decoded(frame):
            yield Sighting(latest, place, device, packet_type == _PACKET_OUTGOING, packet, frame)
