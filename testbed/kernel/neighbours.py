"""The neighbour tables (ARP and NDP) of a namespace."""

import socket
import struct
from collections.abc import Iterable

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import HEADER, messages
from testbed.kernel.uapi import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
)

_NDMSG = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_NDA_DST = 1
_RECEIVE = 1 << 18
_TIMEOUT_S = 10
_AT_ONCE = 64
_TO_KEEP = NUD_PERMANENT | NUD_NOARP | NUD_INCOMPLETE
"""Planned ones, and those that are being asked for: whoever waits for one would be told that there is no way there."""


def forget_learned_in(namespaces: Iterable[Namespace]) -> None:
    """Deletes what was learned in each of these namespaces, see `forget_learned`."""
    for namespace in namespaces:
        with namespace.entered():
            forget_learned()


def forget_learned() -> None:
    """Deletes every entry that was learned, in the namespace that the calling thread is in; planned ones stay.

    All namespaces of a machine share one limit of 1,024 learned entries for each family (`gc_thresh3`), which only the
    host could raise; beyond it the kernel answers for no new neighbour until old entries have aged for five seconds.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        learned = [entry for entry in _dump(sock) if not entry[1] & _TO_KEEP]
        for start in range(0, len(learned), _AT_ONCE):
            # No acknowledgement is asked for: an entry that has gone by itself meanwhile is no mistake.
            sock.send(b"".join(body for body, _ in learned[start : start + _AT_ONCE]))


def _dump(sock: socket.socket) -> list[tuple[bytes, int]]:
    """Each entry as the request that deletes it, with its state."""
    body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    sock.send(HEADER.pack(HEADER.size + len(body), RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    entries: list[tuple[bytes, int]] = []
    while True:
        for kind, payload in messages(sock.recv(_RECEIVE)):
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                return entries
            family, index, state, flags, _ = _NDMSG.unpack_from(payload)
            if family in (socket.AF_INET, socket.AF_INET6):
                entries.append((_deletion(family, index, flags, _destination(payload)), state))


def _destination(payload: memoryview) -> bytes:
    """The attribute that holds the neighbour's address, whole."""
    place = _NDMSG.size
    while place < len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, place)
        if kind == _NDA_DST:
            return bytes(payload[place : place + length])
        place += (length + 3) & ~3
    return b""


def _deletion(family: int, index: int, flags: int, destination: bytes) -> bytes:
    body = _NDMSG.pack(family, index, 0, flags, 0) + destination
    return HEADER.pack(HEADER.size + len(body), RTM_DELNEIGH, NLM_F_REQUEST, 0, 0) + body
