"""Forwarding database entries for remote tunnel ends."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.plan.messages import (
    APPEND,
    CHANGE,
    CREATE,
    IndexOf,
    Request,
    address_in,
    attribute,
    attributes,
    mac_attribute,
    mac_in,
)
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.neighbours import NDA_DST, NDA_LLADDR, NEIGHBOUR_HEADER
from testbed.plan.uapi import NTF_SELF, NUD_NOARP, NUD_PERMANENT, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from testbed.spec.types import Address

FLOODED = "00:00:00:00:00:00"
"""The FDB address for broadcast, multicast and unknown unicast frames."""


@dataclass(frozen=True)
class FdbEntry:
    """A permanent forwarding database entry of a VXLAN device: frames to `mac` are sent to the tunnel end `remote`."""

    mac: str
    dev: str
    remote: Address


def fdb_words(item: FdbEntry, verb: str = "add") -> str:
    """Arguments of `bridge` that `add` or `del` the entry."""
    if verb == "add" and item.mac == FLOODED:
        verb = "append"  # There may be several.
    return f"fdb {verb} {item.mac} dev {item.dev} dst {item.remote} self{' permanent' if verb != 'del' else ''}"


def new_fdb_entry(item: FdbEntry, index: int) -> Request:
    """Request for an entry of the device with that index."""
    how = APPEND if item.mac == FLOODED else CREATE  # There may be several for flooded frames.
    return Request(RTM_NEWNEIGH, how, _body(item, index), lambda: f"bridge {fdb_words(item)}")


def _body(item: FdbEntry, index: int) -> bytes:
    return (
        NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF, 0)
        + mac_attribute(NDA_LLADDR, item.mac)
        + attribute(NDA_DST, item.remote.packed)
    )


def _remove(item: FdbEntry, index_of: IndexOf) -> Request:
    return Request(RTM_DELNEIGH, CHANGE, _body(item, index_of(item.dev)), lambda: f"bridge {fdb_words(item, 'del')}")


def _read(payload: memoryview, names: Mapping[int, str]) -> FdbEntry | None:
    _, index, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(payload)
    found = attributes(payload, NEIGHBOUR_HEADER.size)
    if NDA_DST not in found or not flags & NTF_SELF or not state & NUD_PERMANENT:
        return None
    remote, address = address_in(found[NDA_DST]), mac_in(found[NDA_LLADDR])
    if address == FLOODED and remote.is_multicast:
        return None  # The device's own group.
    return FdbEntry(address, names[index], remote)


def _describe(planned: FdbEntry | None, there: FdbEntry | None) -> str:
    if planned:
        return f"{planned.dev}: FDB entry {planned.mac} dst {planned.remote} missing"
    assert there
    return f"{there.dev}: unexpected FDB entry {there.mac} dst {there.remote}"


FDB = ObjectKind(
    type=FdbEntry,
    # One MAC address may have several remote ends.
    key=lambda item: item,
    devices=lambda item: (item.dev,),
    make=lambda item, index_of: new_fdb_entry(item, index_of(item.dev)),
    remove=_remove,
    words=lambda item, verb: f"bridge {fdb_words(item, verb)}",
    describe=_describe,
    dumps=((RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(socket.AF_BRIDGE, 0, 0, 0, 0)),),
    read=_read,
)
