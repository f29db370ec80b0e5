"""Announce the addresses of a namespace to its Ethernets, as CNI plugins do for new pods.

An address may have belonged to an earlier pod, whose MAC address the neighbours still know. They would send to it until
their probes fail, for several seconds. A gratuitous ARP request or an unsolicited neighbour advertisement updates their
entries at once.
"""

import errno
import socket
import struct
from collections.abc import Iterable

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
_SILENT = (errno.ENETDOWN, errno.EADDRNOTAVAIL)
"""The device is down, or its IPv6 address is still checked for duplicates: nobody can know it yet."""


def announce(namespace: Namespace, addresses: Iterable[tuple[str, Interface]]) -> None:
    """Sends an announcement of each address from its device, given by name. Raises OSError."""
    with namespace.entered():
        for dev, address in addresses:
            try:
                _send(dev, address)
            except OSError as error:
                if error.errno not in _SILENT:
                    raise


def _send(dev: str, address: Interface) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ethernet:
        ethernet.bind((dev, 0))
        _, _, _, kind, mac = ethernet.getsockname()
        if kind != _ETHERNET:
            return
        if address.version == 4:
            ethernet.send(gratuitous_arp(mac, address))
            return
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        icmp.bind((str(address.ip), 0))
        icmp.sendto(advertisement(mac, address), (_ALL_NODES, 0, 0, socket.if_nametoindex(dev)))


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
