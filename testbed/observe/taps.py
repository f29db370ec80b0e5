"""Packet sockets that record the frames on all devices of a namespace, with the kernel's time stamps."""

import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from testbed.kernel.namespace import Namespace
from testbed.observe.frames import USUAL_PORTS, Packet, Ports, decoded

STAMPS_S = 0.005
"""About how long the kernel takes to start stamping packets, which it does in the background."""
_ETH_P_ALL = 0x0003
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_BUFFER = 8 << 20
_MOST_BYTES = 1 << 18
"""Most bytes of a frame: with segmentation offload it may exceed 64 KiB."""
_TIMESPEC = struct.Struct("=qq")
_INSTRUCTION_SIZE = 8
_PROGRAM = struct.Struct("HP")
_STATISTICS = struct.Struct("II")
WITH_ETHERNET = (1, 772)
"""Hardware types of devices with Ethernet headers: Ethernet and loopback (ARPHRD_)."""


class Frame(NamedTuple):
    """A frame at one device, at one moment."""

    time: int
    """In nanoseconds since 1970 (a float is too coarse); 0 if the kernel did not stamp it."""
    device: str
    out: bool
    protocol: int
    """EtherType of the payload."""
    has_ethernet: bool
    """False for devices that carry bare IP packets."""
    data: bytes
    is_for_others: bool = False
    """Whether it is addressed to another device, as flooded frames are."""


@dataclass(frozen=True)
class Sighting:
    """An IP packet at one device of a place, at one moment."""

    time: int
    """In nanoseconds since 1970."""
    place: str
    device: str
    out: bool
    packet: Packet
    frame: bytes
    is_for_others: bool = False
    """See `Frame`."""


def tap(namespace: Namespace, instructions: bytes = b"") -> socket.socket:
    """Record the frames on all devices of a namespace from now on, with time stamps.

    `instructions` are a filter (struct sock_filter of linux/filter.h): only matching frames are recorded.
    """
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    try:
        tap.setblocking(False)
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with suppress(PermissionError):  # Root of a user namespace keeps the default buffer.
            tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        if instructions:
            held = ctypes.create_string_buffer(instructions)
            program = _PROGRAM.pack(len(instructions) // _INSTRUCTION_SIZE, ctypes.addressof(held))
            tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            for _ in frames(tap):
                pass  # Discard frames from before the filter.
    except BaseException:
        tap.close()
        raise
    return tap


def frames(tap: socket.socket) -> Iterator[Frame]:
    """The recorded frames that were not read yet."""
    buffer = memoryview(bytearray(_MOST_BYTES))
    while True:
        try:
            size, ancillary, _, (device, protocol, kind, hardware, _) = tap.recvmsg_into([buffer], 64)
        except BlockingIOError:
            return
        ethernet = hardware in WITH_ETHERNET
        data, out = bytes(buffer[:size]), kind == _PACKET_OUTGOING
        yield Frame(_stamp(ancillary), device, out, protocol, ethernet, data, kind == _PACKET_OTHERHOST)


def dropped(tap: socket.socket) -> int:
    """How many frames a tap has dropped since the last call, because its buffer was full."""
    raw = tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
    return int(_STATISTICS.unpack(raw)[1])


def _stamp(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970; 0 without a time stamp."""
    for level, number, data in ancillary:
        if (level, number) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


def recorded(place: str, tap: socket.socket, ports: Ports = USUAL_PORTS) -> Iterator[Sighting]:
    """The recorded IP packets, in the tap's order: times are raised where they would go backwards."""
    latest = 0
    for frame in frames(tap):
        latest = max(latest, frame.time)
        data = frame.data if frame.has_ethernet else bytes(12) + frame.protocol.to_bytes(2, "big") + frame.data
        if packet := decoded(data, ports):
            yield Sighting(latest, place, frame.device, frame.out, packet, data, frame.is_for_others)
