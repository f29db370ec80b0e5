"""IPsec: associations and policies."""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from testbed.kernel.netlink import connect, dump
from testbed.plan.messages import address_in
from testbed.plan.objects import Other

_NETLINK_XFRM, _XFRM_MSG_GETSA, _XFRM_MSG_GETPOLICY = 6, 18, 21
_TARGET_AT, _SPI_AT, _PROTOCOL_AT, _SOURCE_AT, _FAMILY_AT = 56, 72, 76, 80, 212
"""Offsets in struct xfrm_usersa_info."""
_PROTOCOLS = {50: "esp", 51: "ah", 108: "comp"}
_SELECTOR = struct.Struct("=16s16sHHHHHBBBxxxiI")
"""struct xfrm_selector: destination, source, ports with masks, family, prefix lengths, protocol, device, user."""
_INDEX_AT, _DIRECTION_AT, _ACTION_AT = 156, 160, 161
"""Offsets in struct xfrm_userpolicy_info."""
_DIRECTIONS = ("in", "out", "fwd")


@dataclass(frozen=True)
class Association:
    """An IPsec association."""

    source: str
    target: str
    spi: int
    protocol: str

    @property
    def ends(self) -> str:
        """As `SOURCE > TARGET`."""
        return f"{self.source} > {self.target}"

    @property
    def as_other(self) -> Other:
        """For one that a plan does not have."""
        words = f"src {self.source} dst {self.target} proto {self.protocol} spi {self.spi:#x}"
        return Other("", f"IPsec association {self.ends} spi {self.spi:#x}", f"ip xfrm state delete {words}")


def associations() -> Iterator[Association]:
    """Those of the calling thread's namespace; none on a kernel without IPsec."""
    with suppress(OSError), connect(_NETLINK_XFRM) as sock:
        for found in dump(sock, _XFRM_MSG_GETSA, b""):
            size = 16 if struct.unpack_from("=H", found, _FAMILY_AT)[0] == socket.AF_INET6 else 4
            source, target = (bytes(found[at : at + size]) for at in (_SOURCE_AT, _TARGET_AT))
            (spi,) = struct.unpack_from("!I", found, _SPI_AT)
            protocol = _PROTOCOLS.get(found[_PROTOCOL_AT], str(found[_PROTOCOL_AT]))
            yield Association(str(ipaddress.ip_address(source)), str(ipaddress.ip_address(target)), spi, protocol)


@dataclass(frozen=True)
class Policy:
    """An IPsec policy between two single addresses, or others."""

    direction: str
    source: str
    target: str
    as_other: Other

    @property
    def ends(self) -> str:
        """As `SOURCE > TARGET`."""
        return f"{self.source} > {self.target}"


def policies() -> Iterator[Policy]:
    """Those of the calling thread's namespace, without those of sockets."""
    with suppress(OSError), connect(_NETLINK_XFRM) as sock:
        for found in dump(sock, _XFRM_MSG_GETPOLICY, b""):
            target, source, *_, family, to, of, protocol, _, _ = _SELECTOR.unpack_from(found)
            size = 16 if family == socket.AF_INET6 else 4
            pairs = ((source, of), (target, to))
            networks = [f"{address_in(memoryview(one[:size]))}/{length}" for one, length in pairs]
            ends = [one.removesuffix(f"/{size * 8}") for one in networks]
            (index,) = struct.unpack_from("=I", found, _INDEX_AT)
            direction = found[_DIRECTION_AT]
            if direction >= len(_DIRECTIONS):
                continue  # Of a socket.
            way, action = _DIRECTIONS[direction], "block" if found[_ACTION_AT] else "allow"
            what = f"IPsec policy {way} {' > '.join(ends)} protocol {protocol} {action}"
            undo = f"ip xfrm policy delete dir {way} index {index}"
            yield Policy(way, ends[0], ends[1], Other("", what, undo))
