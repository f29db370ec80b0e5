"""Packet sockets that record the frames of a namespace, on all its devices, with the kernel's own time."""

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
"""About how long the kernel takes until it stamps packets, once it is asked to; it does so when it comes to it."""
_ETH_P_ALL = 0x0003
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_BUFFER = 8 << 20
_MOST_BYTES = 1 << 18
"""Of one frame: what the kernel leaves to be cut up by a device may have more than 64 KiB."""
_TIMESPEC = struct.Struct("=qq")
_INSTRUCTION_SIZE = 8
_PROGRAM = struct.Struct("HP")
_STATISTICS = struct.Struct("II")
WITH_ETHERNET = (1, 772)
"""Hardware types of devices whose frames are Ethernet's, and loopback's, which look alike (ARPHRD_)."""


class Frame(NamedTuple):
    """What a tap has recorded: a frame at one device, at one moment."""

    time: int
    """In nanoseconds since 1970: a float would not tell two devices apart. 0 if the kernel did not stamp it."""
    device: str
    out: bool
    protocol: int
    """Of what is in the frame, as Ethernet numbers it."""
    has_ethernet: bool
    """False of devices that carry bare IP packets."""
    data: bytes


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


def tap(namespace: Namespace, instructions: bytes = b"") -> socket.socket:
    """Records every frame of a namespace, on all its devices, from now on, each with the time the kernel saw it at.

    `instructions` are a filter (struct sock_filter of linux/filter.h): what it refuses is not recorded.
    """
    with namespace.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    try:
        tap.setblocking(False)
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with suppress(PermissionError):  # Root of a user namespace has to do with what everybody has.
            tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        if instructions:
            held = ctypes.create_string_buffer(instructions)
            program = _PROGRAM.pack(len(instructions) // _INSTRUCTION_SIZE, ctypes.addressof(held))
            tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            for _ in frames(tap):
                pass  # What came before the filter did.
    except BaseException:
        tap.close()
        raise
    return tap


def frames(tap: socket.socket) -> Iterator[Frame]:
    """What a tap has recorded and nobody has read yet."""
    buffer = memoryview(bytearray(_MOST_BYTES))
    while True:
        try:
            size, ancillary, _, (device, protocol, kind, hardware, _) = tap.recvmsg_into([buffer], 64)
        except BlockingIOError:
            return
        ethernet = hardware in WITH_ETHERNET
        yield Frame(_stamp(ancillary), device, kind == _PACKET_OUTGOING, protocol, ethernet, bytes(buffer[:size]))


def dropped(tap: socket.socket) -> int:
    """How many frames a tap had no room for since this was asked last."""
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
    """The IP packets that a tap has recorded. Within one namespace the order is the tap's, whatever the times say."""
    latest = 0
    for frame in frames(tap):
        latest = max(latest, frame.time)
        data = frame.data if frame.has_ethernet else bytes(12) + frame.protocol.to_bytes(2, "big") + frame.data
        if packet := decoded(data, ports):
            yield Sighting(latest, place, frame.device, frame.out, packet, data)
