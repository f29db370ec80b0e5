"""Route netlink in batches: many requests in one message to the kernel, errors matched to the request they answer.

pyroute2 encodes the requests (it knows every attribute); the socket is our own, because one system call for a whole
namespace is what makes a lab quick to build. The kernel carries the requests out in order and goes on behind a failed
one; only the last asks for an acknowledgement, failed ones are answered in any case.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ERROR, nlmsg

CREATE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
CHANGE = NLM_F_REQUEST

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 10, 11
HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number and port of a netlink message."""
_ERROR = struct.Struct("=iIHHII")
_MAX_BATCH = 64 * 1024
"""Bytes in one send: well below the socket's default buffer of 208 KiB."""
_RECEIVE = 1 << 20
_ATTRIBUTE_MESSAGE = 1
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Request:
    """One change to the kernel's state, with the command that would ask for the same."""

    message: nlmsg
    command: str


class KernelRefusal(Exception):
    """The kernel did not do what was asked."""

    def __init__(self, command: str, number: int, reason: str) -> None:
        super().__init__(
            f"{command}: {reason} ({os.strerror(number)})" if reason else f"{command}: {os.strerror(number)}"
        )
        self.command = command
        self.errno = number


def request(
    message: nlmsg,
    kind: int,
    flags: int,
    fields: dict[str, Any],
    attributes: list[tuple[str, Any]],
    command: str,
) -> Request:
    """Fills in a pyroute2 message: `kind` is RTM_..., `fields` its fixed header, `attributes` what follows."""
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return Request(message, command)


def send(requests: Iterable[Request]) -> None:
    """Has the kernel carry out the requests in the calling thread's namespace, in order.

    Raises KernelRefusal for the first that failed, after all were tried.
    """
    batch = list(requests)
    if not batch:
        return
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, 0))
        for start, parts in _pieces(batch):
            sock.send(b"".join(parts))
            _await_last(sock, batch, last=start + len(parts) - 1)


def _pieces(batch: Sequence[Request]) -> Iterable[tuple[int, list[bytes]]]:
    """The encoded requests in pieces that fit a send, each with the place of its first request in the batch."""
    start, size, parts = 0, 0, list[bytes]()
    for place, item in enumerate(batch):
        item.message["header"]["sequence_number"] = place
        item.message.encode()
        data = bytes(item.message.data)
        if parts and size + len(data) > _MAX_BATCH:
            yield start, _with_ack(parts)
            start, size, parts = place, 0, []
        parts.append(data)
        size += len(data)
    yield start, _with_ack(parts)


def _with_ack(parts: list[bytes]) -> list[bytes]:
    """Asks for an acknowledgement of the last request."""
    length, kind, flags, sequence, pid = HEADER.unpack_from(parts[-1])
    parts[-1] = HEADER.pack(length, kind, flags | NLM_F_ACK, sequence, pid) + parts[-1][HEADER.size :]
    return parts


def messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The netlink messages of one datagram: each one's type and what follows its header."""
    rest = memoryview(data)
    while rest:
        length, kind = struct.unpack_from("=IH", rest)
        yield kind, rest[HEADER.size : length]
        rest = rest[(length + 3) & ~3 :]


def _await_last(sock: socket.socket, batch: Sequence[Request], last: int) -> None:
    refusal: KernelRefusal | None = None
    while True:
        for kind, payload in messages(sock.recv(_RECEIVE)):
            if kind != NLMSG_ERROR:
                continue
            # The error, then the header of the request that it is about.
            error, _, _, _, sequence, _ = _ERROR.unpack_from(payload)
            if error and refusal is None:
                refusal = KernelRefusal(batch[sequence].command, -error, _reason(payload))
            if sequence == last:
                if refusal:
                    raise refusal
                return


def _reason(payload: memoryview) -> str:
    """The kernel's own words (extended acknowledgement), if it gave any."""
    place = _ERROR.size
    while place + 4 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, place)
        if kind == _ATTRIBUTE_MESSAGE:
            return bytes(payload[place + 4 : place + length]).rstrip(b"\0").decode(errors="replace")
        place += max((length + 3) & ~3, 4)
    return ""
