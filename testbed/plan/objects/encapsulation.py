"""Encapsulation by routes (the kernel's lightweight tunnels): tunnel keys and segment routing."""

import ipaddress
import struct
import sys
from dataclasses import dataclass
from typing import Literal

from testbed.plan.messages import address_in, attribute, attributes, number
from testbed.spec.types import Address

OUTER_TTL = 64
"""TTL of outer headers; without it Geneve sends a TTL of 0."""

_SEGMENT_HEADER = struct.Struct("=iBBBBBBH")
"""struct seg6_iptunnel_encap: mode; then the routing header: next header, length, type, segments left, first segment,
flags, tag."""
_U16 = struct.Struct("=H")
_FLAGS = struct.Struct("!H")
_KEY = struct.Struct("!Q")
_RTA_ENCAP_TYPE, _RTA_ENCAP = 21, 22
_NESTED = 0x8000
_IP, _IP6, _SEG6, _SEG6_LOCAL = 2, 4, 5, 7
_IP_ID, _IP_DST, _IP_SRC, _IP_TTL, _IP_FLAGS, _CHECKSUM = 1, 2, 3, 4, 6, 1
_SEG6_SRH, _SEG6_ENCAP, _ROUTING_TYPE_SEGMENTS, _SEGMENTS_AT = 1, 1, 4, 12
_SEG6_LOCAL_ACTION, _SEG6_LOCAL_NH4, _SEG6_LOCAL_NH6 = 1, 4, 5
_SEG6_ACTIONS = {"End.DX6": 5, "End.DX4": 6}


@dataclass(frozen=True)
class TunnelKey:
    """Encapsulation by an external tunnel device: network identifier and both ends of the tunnel."""

    number: int
    source: Address
    target: Address


@dataclass(frozen=True)
class Segments:
    """Encapsulation in an IPv6 header with a segment routing header (RFC 8986, H.Encaps)."""

    segments: tuple[Address, ...]


@dataclass(frozen=True)
class SegmentEnd:
    """Decapsulation of packets to a segment, the route's address; the inner packet is forwarded."""

    action: Literal["End.DX4", "End.DX6"]


Encapsulation = TunnelKey | Segments | SegmentEnd


def encap_words(encap: Encapsulation | None) -> str:
    """The encapsulation in the syntax of `ip route`, with a leading space; empty if None."""
    match encap:
        case TunnelKey():
            # UDP over IPv6 requires a checksum, which the route must ask for.
            is_four = encap.target.version == 4
            kind, ttl, checksum = ("ip", "ttl", "") if is_four else ("ip6", "hoplimit", " csum")
            ends = f"src {encap.source} dst {encap.target}"
            return f" encap {kind} id {encap.number} {ends} {ttl} {OUTER_TTL}{checksum}"
        case Segments():
            return f" encap seg6 mode encap segs {','.join(map(str, encap.segments))}"
        case SegmentEnd():
            family, nowhere = ("nh4", "0.0.0.0") if encap.action == "End.DX4" else ("nh6", "::")
            return f" encap seg6local action {encap.action} {family} {nowhere}"
    return ""


def encap_attributes(encap: Encapsulation) -> bytes:
    """The attributes of a route with this encapsulation."""
    match encap:
        case TunnelKey():
            kind = _IP if encap.target.version == 4 else _IP6
            data = attribute(_IP_ID, _KEY.pack(encap.number))
            data += attribute(_IP_DST, encap.target.packed)
            data += attribute(_IP_SRC, encap.source.packed)
            data += attribute(_IP_TTL, bytes([OUTER_TTL]))
            if encap.target.version == 6:
                data += attribute(_IP_FLAGS, _FLAGS.pack(_CHECKSUM))
        case Segments():
            kind = _SEG6
            last = len(encap.segments) - 1
            header = _SEGMENT_HEADER.pack(
                _SEG6_ENCAP, 0, 2 * len(encap.segments), _ROUTING_TYPE_SEGMENTS, last, last, 0, 0
            )
            data = attribute(_SEG6_SRH, header + b"".join(segment.packed for segment in reversed(encap.segments)))
        case SegmentEnd():
            kind = _SEG6_LOCAL
            hop, nowhere = (_SEG6_LOCAL_NH4, bytes(4)) if encap.action == "End.DX4" else (_SEG6_LOCAL_NH6, bytes(16))
            data = number(_SEG6_LOCAL_ACTION, _SEG6_ACTIONS[encap.action]) + attribute(hop, nowhere)
    return attribute(_RTA_ENCAP_TYPE, _U16.pack(kind)) + attribute(_RTA_ENCAP | _NESTED, data)


def encap_in(found: dict[int, memoryview]) -> Encapsulation | None:
    """The encapsulation in a route's attributes."""
    if _RTA_ENCAP_TYPE not in found:
        return None
    kind = int.from_bytes(found[_RTA_ENCAP_TYPE][:2], sys.byteorder)
    inner = attributes(found[_RTA_ENCAP])
    if kind in (_IP, _IP6):
        number_of_network = int.from_bytes(inner[_IP_ID], "big")
        return TunnelKey(number_of_network, address_in(inner[_IP_SRC]), address_in(inner[_IP_DST]))
    if kind == _SEG6:
        header = bytes(inner[_SEG6_SRH])
        segments = [header[at : at + 16] for at in range(_SEGMENTS_AT, len(header) - 15, 16)]
        return Segments(tuple(map(ipaddress.IPv6Address, reversed(segments))))
    if kind == _SEG6_LOCAL:
        action = int.from_bytes(inner[_SEG6_LOCAL_ACTION], sys.byteorder)
        return SegmentEnd("End.DX4" if action == _SEG6_ACTIONS["End.DX4"] else "End.DX6")
    return None
