"""The answers of route netlink that describe a namespace, and its devices."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.kernel.netlink import QueryRefused, dump
from testbed.plan.messages import attributes, number, text_in
from testbed.plan.objects.link_kind import Attributes
from testbed.plan.uapi import IFF_UP, RTM_GETLINK

LINK_HEADER = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, mask of flags."""
BUILT_IN = frozenset(("lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0"))
"""Devices that the kernel makes in each namespace."""
IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_EXT_MASK = 3, 10, 18, 26, 29
_IFLA_CARRIER = 33
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5


@dataclass(frozen=True)
class Link:
    """A device in a dump of the kernel."""

    index: int
    name: str
    flags: int
    kind: str
    attributes: Attributes
    data: Attributes
    """The attributes of its kind."""
    port_kind: str
    """The kind of its master."""
    port: Attributes
    """Its attributes as a port of that master."""

    @property
    def is_up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def has_carrier(self) -> bool:
        return bool(self.attributes.get(_IFLA_CARRIER, b"\0")[0])


def links(sock: socket.socket) -> Iterator[Link]:
    """All devices."""
    for payload in dump(sock, RTM_GETLINK, LINK_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, _, index, flags, _ = LINK_HEADER.unpack_from(payload)
        found = attributes(payload, LINK_HEADER.size)
        info = attributes(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
        yield Link(
            index,
            text_in(found[IFLA_IFNAME]),
            flags,
            text_in(info[_INFO_KIND]) if _INFO_KIND in info else "",
            found,
            attributes(info[_INFO_DATA]) if _INFO_DATA in info else {},
            text_in(info[_INFO_SLAVE_KIND]) if _INFO_SLAVE_KIND in info else "",
            attributes(info[_INFO_SLAVE_DATA]) if _INFO_SLAVE_DATA in info else {},
        )


class Dumped:
    """All answers about one namespace, each requested once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._answers: dict[tuple[int, bytes], list[memoryview]] = {}
        self.links = tuple(links(sock))
        self.names = {link.index: link.name for link in self.links}

    def answers(self, *questions: tuple[int, bytes]) -> Iterator[memoryview]:
        """The messages of the answers to these dumps; none from a kernel without the kind of object."""
        for question in questions:
            if question not in self._answers:
                try:
                    self._answers[question] = list(dump(self._sock, *question))
                except QueryRefused:
                    self._answers[question] = []
            yield from self._answers[question]


BRIDGE_DUMP = (RTM_GETLINK, LINK_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + number(IFLA_EXT_MASK, 2))
"""Lists the ports of bridges with their VLANs (RTEXT_FILTER_BRVLAN)."""
