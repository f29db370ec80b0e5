"""The offloads of devices: whether they carry segments larger than their MTU, and leave checksums to the hardware.

By the ioctl that ethtool(8) itself falls back to: a process for each device would take longer than building the lab.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable

_SIOCETHTOOL = 0x8946
_IFNAMSIZ = 16
_GET = {"tso": 0x1E, "gso": 0x23, "gro": 0x2B, "checksum": 0x16}
"""The commands that ask for each: ETHTOOL_GTSO and so on in linux/ethtool.h; `checksum` is that of sent packets."""
_SET_SEGMENTATION = (0x1F, 0x24, 0x2C)
"""ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO."""


class _Value(ctypes.Structure):
    _fields_ = (("command", ctypes.c_uint32), ("data", ctypes.c_uint32))


def switch_offloads_off(devices: Iterable[str]) -> None:
    """Switches TSO, GSO and GRO off for these devices of the calling thread's namespace."""
    with _socket() as sock:
        for dev in devices:
            for command in _SET_SEGMENTATION:
                _ethtool(sock, dev, command)


def offloads_of(devices: Iterable[str]) -> dict[str, dict[str, bool]]:
    """By device of the calling thread's namespace: whether `tso`, `gso`, `gro` and `checksum` are on."""
    with _socket() as sock:
        return {dev: {name: bool(_ethtool(sock, dev, command)) for name, command in _GET.items()} for dev in devices}


def _socket() -> socket.socket:
    """Any socket will do: it only names the namespace."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _ethtool(sock: socket.socket, dev: str, command: int) -> int:
    value = _Value(command, 0)
    request = struct.pack(f"{_IFNAMSIZ}sP", dev.encode(), ctypes.addressof(value))
    fcntl.ioctl(sock, _SIOCETHTOOL, request)
    return int(value.data)
