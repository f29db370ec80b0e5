"""Messages of route netlink: requests, and packing and parsing of attributes.

They are packed by hand, as described in linux/rtnetlink.h and related headers. pyroute2 takes longer to pack a message
than the kernel to process it (0.8 s of 1.4 s in a profile with 512 pods). The tests compare both encodings.
"""

import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from testbed.plan.uapi import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST
from testbed.spec.types import Address, Interface, Network

CREATE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
APPEND = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND
REPLACE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
CHANGE = NLM_F_REQUEST
"""Flags of requests: create, add another one, replace, change or delete an existing one."""

IndexOf = Callable[[str], int]
"""The index of a space's device, by name."""

_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""By length modulo four."""
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class Request(NamedTuple):
    """One change to the kernel's state."""

    kind: int
    """RTM_..."""
    flags: int
    body: bytes
    """The message without its header; its length is a multiple of four."""
    command: Callable[[], str]
    """The equivalent command, for error messages; a function, since composing it takes longer than the request."""


def family(of: Address | Interface | Network) -> int:
    """AF_INET or AF_INET6."""
    return _FAMILY[of.version]


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + _PADDING[len(value) & 3]


def number(kind: int, value: int) -> bytes:
    """A 32-bit number as an attribute."""
    return attribute(kind, _U32.pack(value))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string as an attribute."""
    return attribute(kind, value.encode() + b"\0")


def mac_attribute(kind: int, value: str) -> bytes:
    """A MAC address as an attribute."""
    return attribute(kind, bytes.fromhex(value.replace(":", "")))


_KIND_OF_ATTRIBUTE = 0x3FFF
"""Without the bits NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


def attributes(payload: memoryview, start: int = 0) -> dict[int, memoryview]:
    """The attributes after the first `start` bytes of a message or of another attribute, by kind."""
    found: dict[int, memoryview] = {}
    while start + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _KIND_OF_ATTRIBUTE] = payload[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3
    return found


def text_in(value: memoryview) -> str:
    """A zero-terminated string."""
    return bytes(value).rstrip(b"\0").decode(errors="replace")


def number_in(value: memoryview) -> int:
    """A 32-bit number."""
    return int(_U32.unpack(value)[0])


def address_in(value: memoryview) -> Address:
    """An address of either family, by its length."""
    return ip_address(bytes(value))


def mac_in(value: memoryview) -> str:
    """A MAC address."""
    return bytes(value).hex(":")
