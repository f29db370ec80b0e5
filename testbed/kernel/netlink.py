"""Netlink: requests in batches, errors matched to their requests, and dumps.

One system call sends all requests of a namespace, which makes a lab quick to build. The kernel executes requests in
order and continues after a failed one. Only the last requests an acknowledgement; errors are always reported.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence

from testbed.plan.messages import Request, attributes, text_in
from testbed.plan.uapi import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 10, 11
HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number and port of a netlink message."""
_ERROR = struct.Struct("=iIHHII")
_MAX_BATCH = 64 * 1024
"""Bytes in one send: well below the socket's default buffer of 208 KiB."""
_RECEIVE = 1 << 17
"""Bytes, more than the largest datagram of the kernel."""
_ATTRIBUTE_MESSAGE = 1
_TIMEOUT_S = 30


class KernelRefusal(Exception):
    """The kernel refused a request."""

    def __init__(self, command: str, number: int, reason: str) -> None:
        super().__init__(
            f"{command}: {reason} ({os.strerror(number)})" if reason else f"{command}: {os.strerror(number)}"
        )
        self.command = command
        self.errno = number


class NotFound(KernelRefusal):
    """The object of a request does not exist."""


_NOT_FOUND = frozenset((errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL))


class QueryRefused(OSError):
    """The kernel refused a query."""


def send(requests: Iterable[Request]) -> None:
    """Send the requests in order, in the calling thread's namespace.

    Raises KernelRefusal for the first failed one, after all were tried; NotFound if its object does not exist.
    """
    _send(list(requests), is_no_failure=())


def remove(requests: Iterable[Request], protocol: int = socket.NETLINK_ROUTE) -> None:
    """Like `send`, but missing objects are no error."""
    _send(list(requests), is_no_failure=_NOT_FOUND, protocol=protocol)


def _send(batch: Sequence[Request], is_no_failure: Collection[int], protocol: int = socket.NETLINK_ROUTE) -> None:
    if not batch:
        return
    with connect(protocol) as sock:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        for start, parts in _pieces(batch):
            sock.send(b"".join(parts))
            _await_last(sock, batch, start + len(parts) - 1, is_no_failure)


def _pieces(batch: Sequence[Request]) -> Iterable[tuple[int, list[bytes]]]:
    """The messages in pieces that fit a send, each with the position of its first request in the batch."""
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
    """Request an acknowledgement of the last message."""
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
    """Dump all objects of a kind (RTM_GET...): the messages of the answer, without their headers.

    Raises QueryRefused with the kernel's error number, at any time.
    """
    sock.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    while True:
        for answer, payload in _messages(sock.recv(_RECEIVE)):
            if answer in (NLMSG_DONE, NLMSG_ERROR):
                _raise_for(payload)
                return
            yield payload


def ask(sock: socket.socket, kind: int, body: bytes) -> memoryview:
    """The answer to a query, one message without its header. Raises QueryRefused with the kernel's error number."""
    sock.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST, 1, 0) + body)
    answer, payload = next(_messages(sock.recv(_RECEIVE)))
    if answer == NLMSG_ERROR:
        _raise_for(payload)
    return payload


def _raise_for(payload: memoryview) -> None:
    """Raises QueryRefused if the message, an error or the end of a dump, starts with an error number."""
    number = int.from_bytes(payload[:4], sys.byteorder, signed=True)
    if number < 0:
        raise QueryRefused(-number, os.strerror(-number))


def _messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The netlink messages of one datagram: type and payload of each."""
    rest = memoryview(data)
    while rest:
        length, kind = struct.unpack_from("=IH", rest)
        yield kind, rest[HEADER.size : length]
        rest = rest[(length + 3) & ~3 :]


def _await_last(sock: socket.socket, batch: Sequence[Request], last: int, is_no_failure: Collection[int]) -> None:
    refusal: KernelRefusal | None = None
    while True:
        for kind, payload in _messages(sock.recv(_RECEIVE)):
            if kind != NLMSG_ERROR:
                continue
            # The error number, then the header of the failed request.
            error, _, _, _, sequence, _ = _ERROR.unpack_from(payload)
            if error and refusal is None and -error not in is_no_failure:
                kind_of_refusal = NotFound if -error in _NOT_FOUND else KernelRefusal
                refusal = kind_of_refusal(batch[sequence].command(), -error, _reason(payload))
            if sequence == last:
                if refusal:
                    raise refusal
                return


def _reason(payload: memoryview) -> str:
    """The kernel's error message (extended acknowledgement); empty if there is none."""
    found = attributes(payload, _ERROR.size)
    return text_in(found[_ATTRIBUTE_MESSAGE]) if _ATTRIBUTE_MESSAGE in found else ""
