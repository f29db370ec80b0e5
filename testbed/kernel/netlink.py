"""Netlink: requests in batches, errors matched to the request they answer, and dumps read back.

The socket is our own, because one system call for a whole namespace is what makes a lab quick to build. The kernel
carries the requests out in order and goes on behind a failed one; only the last asks for an acknowledgement, while
failed ones are answered in any case.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from testbed.kernel.uapi import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

CREATE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
APPEND = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND
CHANGE = NLM_F_REQUEST

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 10, 11
HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number and port of a netlink message."""
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=iIHHII")
_MAX_BATCH = 64 * 1024
"""Bytes in one send: well below the socket's default buffer of 208 KiB."""
_RECEIVE = 1 << 17
"""More than the kernel puts into one datagram."""
_KIND_OF_ATTRIBUTE = 0x3FFF
"""Without the bits that say 'nested' and 'in network byte order'."""
_ATTRIBUTE_MESSAGE = 1
_TIMEOUT_S = 30


class Request(NamedTuple):
    """One change to the kernel's state."""

    kind: int
    """RTM_..."""
    flags: int
    body: bytes
    """All behind the message's header; its length is a multiple of four."""
    command: Callable[[], str]
    """Tells the command that would ask for the same; seldom needed, as it takes longer to say than to do."""


class KernelRefusal(Exception):
    """The kernel did not do what was asked."""

    def __init__(self, command: str, number: int, reason: str) -> None:
        super().__init__(
            f"{command}: {reason} ({os.strerror(number)})" if reason else f"{command}: {os.strerror(number)}"
        )
        self.command = command
        self.errno = number


class QueryRefused(OSError):
    """The kernel did not tell what it was asked for."""


def send(requests: Iterable[Request]) -> None:
    """Has the kernel carry out the requests in the calling thread's namespace, in order.

    Raises KernelRefusal for the first that failed, after all were tried.
    """
    batch = list(requests)
    if not batch:
        return
    with connect() as sock:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        for start, parts in _pieces(batch):
            sock.send(b"".join(parts))
            _await_last(sock, batch, last=start + len(parts) - 1)


def _pieces(batch: Sequence[Request]) -> Iterable[tuple[int, list[bytes]]]:
    """The messages in pieces that fit a send, each with the place of its first request in the batch."""
    start, size, parts = 0, 0, list[bytes]()
    for place, (kind, flags, body, _) in enumerate(batch):
        length = HEADER.size + len(body)
        if parts and size + length > _MAX_BATCH:
            yield start, _with_ack(parts)
            start, size, parts = place, 0, []
        parts.append(HEADER.pack(length, kind, flags, place, 0) + body)
        size += length
    yield start, _with_ack(parts)


def _with_ack(parts: list[bytes]) -> list[bytes]:
    """Asks for an acknowledgement of the last request."""
    length, kind, flags, sequence, pid = HEADER.unpack_from(parts[-1])
    parts[-1] = HEADER.pack(length, kind, flags | NLM_F_ACK, sequence, pid) + parts[-1][HEADER.size :]
    return parts


def connect(protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """A netlink socket to the calling thread's namespace. Raises OSError if the kernel lacks the protocol."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.settimeout(_TIMEOUT_S)
    sock.bind((0, 0))
    return sock


def dump(sock: socket.socket, kind: int, body: bytes) -> Iterator[memoryview]:
    """Asks for everything of a kind (RTM_GET...), and gives each message of the answer without its header.

    Raises QueryRefused with the kernel's number, at the start or on the way.
    """
    sock.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    while True:
        for answer, payload in _messages(sock.recv(_RECEIVE)):
            if answer in (NLMSG_DONE, NLMSG_ERROR):
                _raise_for(payload)
                return
            yield payload


def ask(sock: socket.socket, kind: int, body: bytes) -> memoryview:
    """The one message that answers a question, without its header. Raises QueryRefused with the kernel's number."""
    sock.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST, 1, 0) + body)
    answer, payload = next(_messages(sock.recv(_RECEIVE)))
    if answer == NLMSG_ERROR:
        _raise_for(payload)
    return payload


def attributes(payload: memoryview, start: int = 0) -> dict[int, memoryview]:
    """The attributes behind the first `start` bytes of a message or of another attribute, by their kind."""
    found: dict[int, memoryview] = {}
    while start + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _KIND_OF_ATTRIBUTE] = payload[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3
    return found


def text(attribute: memoryview) -> str:
    """A text that the kernel ends with a zero."""
    return bytes(attribute).rstrip(b"\0").decode(errors="replace")


def _raise_for(payload: memoryview) -> None:
    """Raises QueryRefused if the number that an error, or the end of a dump, begins with is one."""
    number = int.from_bytes(payload[:4], sys.byteorder, signed=True)
    if number < 0:
        raise QueryRefused(-number, os.strerror(-number))


def _messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The netlink messages of one datagram: each one's type and what follows its header."""
    rest = memoryview(data)
    while rest:
        length, kind = struct.unpack_from("=IH", rest)
        yield kind, rest[HEADER.size : length]
        rest = rest[(length + 3) & ~3 :]


def _await_last(sock: socket.socket, batch: Sequence[Request], last: int) -> None:
    refusal: KernelRefusal | None = None
    while True:
        for kind, payload in _messages(sock.recv(_RECEIVE)):
            if kind != NLMSG_ERROR:
                continue
            # The error, then the header of the request that it is about.
            error, _, _, _, sequence, _ = _ERROR.unpack_from(payload)
            if error and refusal is None:
                refusal = KernelRefusal(batch[sequence].command(), -error, _reason(payload))
            if sequence == last:
                if refusal:
                    raise refusal
                return


def _reason(payload: memoryview) -> str:
    """The kernel's own words (extended acknowledgement), if it gave any."""
    found = attributes(payload, _ERROR.size)
    return text(found[_ATTRIBUTE_MESSAGE]) if _ATTRIBUTE_MESSAGE in found else ""
