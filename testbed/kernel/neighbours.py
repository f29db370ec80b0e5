"""Neighbour tables (ARP and NDP) of a namespace."""

import socket
import struct
from collections.abc import Iterable, Iterator

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import HEADER, connect, dump
from testbed.plan.messages import attributes
from testbed.plan.uapi import (
    NLM_F_REQUEST,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
)

_NDMSG = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_NDA_DST = 1
_AT_ONCE = 64
_PLANNED = NUD_PERMANENT | NUD_NOARP


def forget_learned_in(namespaces: Iterable[Namespace], unresolved: bool = False) -> None:
    """Delete the learned entries in each of these namespaces, see `forget_learned`."""
    for namespace in namespaces:
        with namespace.entered():
            forget_learned(unresolved)


def forget_learned(unresolved: bool = False) -> None:
    """Delete all learned entries in the calling thread's namespace; planned ones stay.

    Entries that are being resolved stay too, except with `unresolved`: deleting one fails its waiting packets with
    'no route'.

    All namespaces of a machine share a limit of 1,024 learned entries for each family (`gc_thresh3`), which only the
    host can raise; beyond it the kernel accepts no new neighbour until old entries have aged for five seconds.
    """
    with connect() as sock:
        learned = list(_deletions(sock, _PLANNED if unresolved else _PLANNED | NUD_INCOMPLETE))
        for start in range(0, len(learned), _AT_ONCE):
            # Without acknowledgements: an entry that has aged out meanwhile is no error.
            sock.send(b"".join(learned[start : start + _AT_ONCE]))


def _deletions(sock: socket.socket, kept: int) -> Iterator[bytes]:
    """Requests that delete the entries, except those in one of the `kept` states."""
    for payload in dump(sock, RTM_GETNEIGH, _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, index, state, flags, _ = _NDMSG.unpack_from(payload)
        if family in (socket.AF_INET, socket.AF_INET6) and not state & kept:
            yield _deletion(family, index, flags, attributes(payload, _NDMSG.size)[_NDA_DST])


def _deletion(family: int, index: int, flags: int, address: memoryview) -> bytes:
    # Addresses have 4 or 16 bytes and need no padding.
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _NDA_DST) + address
    body = _NDMSG.pack(family, index, 0, flags, 0) + destination
    return HEADER.pack(HEADER.size + len(body), RTM_DELNEIGH, NLM_F_REQUEST, 0, 0) + body
