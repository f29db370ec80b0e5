"""Permanent neighbour entries."""

import socket
import struct
from collections.abc import Mapping
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
    mac_attribute,
    mac_in,
)
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.uapi import NUD_PERMANENT, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from testbed.spec.types import Address

NEIGHBOUR_HEADER = struct.Struct("=BxxxiHBB")
"""struct ndmsg: family, index, state, flags, type."""
NDA_DST, NDA_LLADDR = 1, 2


@dataclass(frozen=True)
class Neighbour:
    """A permanent neighbour entry, which replaces ARP or NDP."""

    address: Address
    mac: str
    dev: str


def neighbour_words(item: Neighbour, verb: str = "add") -> str:
    """Arguments of `ip` that `add`, `replace` or `del` the entry."""
    kind = "" if verb == "del" else f" lladdr {item.mac}"
    return f"neighbour {verb} {item.address}{kind} dev {item.dev}{'' if verb == 'del' else ' nud permanent'}"


def new_neighbour(item: Neighbour, index: int, flags: int = CREATE) -> Request:
    """Request for an entry of the device with that index."""
    verb = "add" if flags == CREATE else "replace"
    body = _destination(item, index) + mac_attribute(NDA_LLADDR, item.mac)
    return Request(RTM_NEWNEIGH, flags, body, lambda: f"ip {neighbour_words(item, verb)}")


def _destination(item: Neighbour, index: int) -> bytes:
    header = NEIGHBOUR_HEADER.pack(family(item.address), index, NUD_PERMANENT, 0, 0)
    return header + attribute(NDA_DST, item.address.packed)


def _remove(item: Neighbour, index_of: IndexOf) -> Request:
    body = _destination(item, index_of(item.dev))
    return Request(RTM_DELNEIGH, CHANGE, body, lambda: f"ip {neighbour_words(item, 'del')}")


def _read(payload: memoryview, names: Mapping[int, str]) -> Neighbour | None:
    kind, index, state, _, _ = NEIGHBOUR_HEADER.unpack_from(payload)
    # Learned entries are ignored.
    if kind not in (socket.AF_INET, socket.AF_INET6) or not state & NUD_PERMANENT:
        return None
    found = attributes(payload, NEIGHBOUR_HEADER.size)
    return Neighbour(address_in(found[NDA_DST]), mac_in(found[NDA_LLADDR]), names[index])


def _describe(planned: Neighbour | None, there: Neighbour | None) -> str:
    if planned and there:
        return f"{planned.dev}: neighbour {planned.address} has lladdr {there.mac}, expected {planned.mac}"
    if planned:
        return f"{planned.dev}: neighbour entry {planned.address} missing"
    assert there
    return f"{there.dev}: unexpected permanent neighbour entry {there.address} lladdr {there.mac}"


NEIGHBOURS = ObjectKind(
    type=Neighbour,
    key=lambda item: (item.dev, item.address),
    devices=lambda item: (item.dev,),
    # The kernel may have an entry of its own already: one that it could not resolve.
    make=lambda item, index_of: new_neighbour(item, index_of(item.dev), REPLACE),
    restored_by="replace",
    replace=lambda item, index_of: new_neighbour(item, index_of(item.dev), REPLACE),
    remove=_remove,
    words=lambda item, verb: f"ip {neighbour_words(item, verb)}",
    describe=_describe,
    dumps=((RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)),),
    read=_read,
)
