"""Addresses of devices."""

import ipaddress
import socket
import struct
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from testbed.plan.messages import (
    CHANGE,
    CREATE,
    REPLACE,
    IndexOf,
    Request,
    address_in,
    attribute,
    attributes,
    family,
    number,
    number_in,
)
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.uapi import IFA_F_NODAD, IFA_F_NOPREFIXROUTE, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from testbed.spec.types import Interface

_HEADER = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8


@dataclass(frozen=True)
class DeviceAddress:
    """An address on a device; unless `noprefixroute` is set, the kernel adds the route to its prefix."""

    dev: str
    interface: Interface
    noprefixroute: bool = False


def address_words(item: DeviceAddress, verb: str = "add") -> str:
    """Arguments of `ip` that `add`, `replace` or `del` the address."""
    bare = " noprefixroute" if item.noprefixroute and verb != "del" else ""
    at_once = " nodad" if verb != "del" and item.interface.version == 6 else ""
    return f"address {verb} {item.interface} dev {item.dev}{at_once}{bare}"


def new_address(item: DeviceAddress, index: int, flags: int = CREATE) -> Request:
    """Request for an address on the device with that index."""
    # Addresses are unique by plan: duplicate address detection would only delay them.
    own = IFA_F_NODAD if item.interface.version == 6 else 0
    more = number(_IFA_FLAGS, own | IFA_F_NOPREFIXROUTE) if item.noprefixroute else b""
    verb = "add" if flags == CREATE else "replace"
    return Request(RTM_NEWADDR, flags, _body(item, index, own) + more, lambda: f"ip {address_words(item, verb)}")


def _body(item: DeviceAddress, index: int, flags: int) -> bytes:
    interface = item.interface
    address = interface.packed
    return (
        _HEADER.pack(family(interface), interface.network.prefixlen, flags, 0, index)
        + attribute(_IFA_LOCAL, address)
        + attribute(_IFA_ADDRESS, address)
    )


def _remove(item: DeviceAddress, index_of: IndexOf) -> Request:
    body = _body(item, index_of(item.dev), 0)
    return Request(RTM_DELADDR, CHANGE, body, lambda: f"ip {address_words(item, 'del')}")


def _key(item: DeviceAddress) -> Hashable:
    return item.dev, item.interface


def _read(payload: memoryview, names: Mapping[int, str]) -> DeviceAddress | None:
    _, prefix, _, _, index = _HEADER.unpack_from(payload)
    found = attributes(payload, _HEADER.size)
    address = address_in(found[_IFA_LOCAL] if _IFA_LOCAL in found else found[_IFA_ADDRESS])
    # The kernel itself adds loopback and IPv6 link-local addresses.
    if address.is_loopback or address.is_link_local:
        return None
    bare = _IFA_FLAGS in found and bool(number_in(found[_IFA_FLAGS]) & IFA_F_NOPREFIXROUTE)
    return DeviceAddress(names[index], ipaddress.ip_interface((address, prefix)), bare)


def _describe(planned: DeviceAddress | None, there: DeviceAddress | None) -> str:
    if planned and there:
        return f"{planned.dev}: address {there.interface} {_prefix(there)}, expected {_prefix(planned)}"
    if planned:
        return f"{planned.dev}: address {planned.interface} missing"
    assert there
    return f"{there.dev}: unexpected address {there.interface}"


def _prefix(item: DeviceAddress) -> str:
    return f"with{'out' if item.noprefixroute else ''} prefix route"


ADDRESSES = ObjectKind(
    type=DeviceAddress,
    key=_key,
    devices=lambda item: (item.dev,),
    make=lambda item, index_of: new_address(item, index_of(item.dev)),
    replace=lambda item, index_of: new_address(item, index_of(item.dev), REPLACE),
    remove=_remove,
    words=lambda item, verb: f"ip {address_words(item, verb)}",
    describe=_describe,
    dumps=((RTM_GETADDR, _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)),),
    read=_read,
)
