"""Announce the addresses of a namespace to its Ethernets, as CNI plugins do for new pods.

An address may have belonged to an earlier pod, whose MAC address the neighbours still know. They would send to it until
their probes fail, for several seconds. A gratuitous ARP request or an unsolicited neighbour advertisement updates their
entries at once.
"""

import errno
import fcntl
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Thread
from typing import NamedTuple

from testbed.kernel.namespace import Namespace
from testbed.spec.types import Interface

_BROADCAST = b"\xff" * 6
_ETHERNET, _IPV4, _ARP_FRAME = 1, 0x0800, 0x0806
_REQUEST = 1
_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE, _TARGET_LINK_ADDRESS = 136, 0x20000000, 2
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")
_ALL_NODES = "ff02::1"
_HOP_LIMIT = 255
"""Neighbours ignore advertisements with another hop limit, as a router has forwarded them."""
_SILENT = (errno.ENETDOWN, errno.ENOBUFS)
"""The device is down, or not started yet."""
_PATIENCE_S, _PAUSE_S = 0.1, 0.0005
_REPEAT_AFTER_S = (0.02, 0.2)
_IFREQ = struct.Struct("16sH22x")
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40


def announce(places: Iterable[tuple[Namespace, Iterable[tuple[str, Interface]]]]) -> None:
    """Sends an announcement of each address of each namespace, from its device, given by name. Raises OSError.

    A thread repeats them soon after: the first one is lost if a port of a bridge does not forward yet.
    """
    packets: list[_Packet] = []
    try:
        for namespace, addresses in places:
            with namespace.entered():
                for dev, address in addresses:
                    packets += _opened(dev, address)
        for packet in packets:
            packet.send()
    finally:
        if packets:
            # It also closes the sockets: the kernel takes milliseconds to close a packet socket.
            Thread(target=_repeat, args=[packets], name="announce", daemon=True).start()


class _Packet(NamedTuple):
    """An announcement, with the socket to send it from."""

    socket: socket.socket
    data: bytes
    to: tuple[str, int, int, int] | None

    def send(self) -> None:
        try:
            if self.to:
                self.socket.sendto(self.data, self.to)
            else:
                self.socket.send(self.data)
        except OSError as error:
            if error.errno not in _SILENT:
                raise


def _opened(dev: str, address: Interface) -> Iterator[_Packet]:
    """The announcement of an address; nothing if its device is no Ethernet, or the address cannot be used yet."""
    ethernet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    ethernet.bind((dev, 0))
    _, _, _, kind, mac = ethernet.getsockname()
    _await_running(ethernet, dev)
    if address.version == 4 and kind == _ETHERNET:
        yield _Packet(ethernet, gratuitous_arp(mac, address), None)
        return
    Thread(target=ethernet.close, daemon=True).start()
    if address.version == 6 and kind == _ETHERNET:
        icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        try:
            icmp.bind((str(address.ip), 0))
        except OSError:
            icmp.close()  # The address is still checked for duplicates: no neighbour knows it yet.
            return
        yield _Packet(icmp, advertisement(mac, address), (_ALL_NODES, 0, 0, socket.if_nametoindex(dev)))


def _await_running(sock: socket.socket, dev: str) -> None:
    """Waits until a new device runs, for at most _PATIENCE_S: the kernel starts it in the background."""
    end = time.monotonic() + _PATIENCE_S
    while not _flags(sock, dev) & _IFF_RUNNING and time.monotonic() < end:
        time.sleep(_PAUSE_S)


def _flags(sock: socket.socket, dev: str) -> int:
    found: int = _IFREQ.unpack_from(fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(dev.encode(), 0)))[1]
    return found


def _repeat(packets: Iterable[_Packet]) -> None:
    for pause_s in _REPEAT_AFTER_S:
        time.sleep(pause_s)
        for packet in packets:
            with suppress(OSError):  # The pod may be gone.
                packet.send()
    for packet in packets:
        packet.socket.close()


def gratuitous_arp(mac: bytes, address: Interface) -> bytes:
    """The frame of an ARP request for the sender's own address."""
    own = address.ip.packed
    return _ARP.pack(
        _BROADCAST, mac, _ARP_FRAME, _ETHERNET, _IPV4, len(mac), len(own), _REQUEST, mac, own, bytes(6), own
    )


def advertisement(mac: bytes, address: Interface) -> bytes:
    """The ICMPv6 message of an unsolicited neighbour advertisement; the kernel adds the checksum."""
    option = (_TARGET_LINK_ADDRESS, 1, mac)
    return _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE, address.ip.packed, *option)
