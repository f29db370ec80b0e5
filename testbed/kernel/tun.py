"""TUN devices, which netlink cannot make; a program reads and writes their packets."""

import fcntl
import os
import socket
import struct

from testbed.plan.objects import Tun

_TUNSETIFF, _TUNSETPERSIST, _TUNSETIFINDEX = 0x400454CA, 0x400454CB, 0x400454DA
_IFF_TUN, _IFF_NO_PI = 0x1, 0x1000
_SIOCSIFMTU, _SIOCSIFFLAGS = 0x8922, 0x8914
_IFF_UP = 0x1


def make_tun(device: Tun) -> None:
    """Make a persistent device in the calling thread's namespace and set it up."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("=i", device.index))
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.name.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFMTU, struct.pack("16si", device.name.encode(), device.mtu))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", device.name.encode(), _IFF_UP))
