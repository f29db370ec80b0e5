"""The door of a running lab: an abstract Unix socket, by which other processes find and enter the lab.

Its name, `testbed/USER/LAB`, is not in the file system: it disappears when its process ends for any reason. Every user
of the machine can see and connect to it, so both sides check the peer's credentials (SO_PEERCRED, set by the kernel): a
lab accepts its own user and root; a caller accepts only a socket of the user in the name.

Each message is one JSON object with optional file descriptors. Namespaces and files are passed as descriptors, since a
PID may be reused in the meantime.

`exec` should take little longer than its command, so this module, `entering` and `living` import little: dataclasses
and pathlib take longer to load than entering a lab.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

_PREFIX = "testbed/"
_MOST_FDS = 250
"""Most descriptors of one message; the kernel's limit is 253."""
_MOST_BYTES = 1 << 16
_CREDENTIALS = struct.Struct("3i")
PATIENCE_S = 5.0
"""Timeout for the next message of the other side."""


class Unanswered(Exception):
    """The lab does not exist, belongs to another user, or does not answer."""


class Address(NamedTuple):
    """User and name of a lab."""

    user: int
    name: str

    @property
    def path(self) -> str:
        """Name of the Unix socket; the leading zero byte makes it abstract."""
        return f"\0{_PREFIX}{self.user}/{self.name}"


class Caller(NamedTuple):
    """The process and user at the other end of a connection."""

    pid: int
    user: int


def caller(connection: socket.socket) -> Caller:
    """The process and user that connected or listened, as numbered in the calling process's namespaces."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(raw)
    return Caller(pid, user)


def bound(address: Address) -> socket.socket:
    """The lab's socket, not yet listening. Raises FileExistsError if a lab with that name is already up."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        door.bind(address.path)
    except OSError:
        door.close()
        raise FileExistsError(address.name) from None
    return door


def addresses() -> tuple[Address, ...]:
    """All visible labs of all users, sorted by name; may include labs that are going down."""
    found = set()
    with open("/proc/net/unix") as sockets:  # noqa: PTH123 - pathlib is slow to load
        lines = sockets.read().splitlines()
    for line in lines:
        _, at, name = line.partition(f"@{_PREFIX}")
        user, slash, lab = name.partition("/")
        if at and slash and user.isdecimal():
            found.add(Address(int(user), lab))
    return tuple(sorted(found, key=lambda address: (address.name, address.user)))


def connected(address: Address) -> socket.socket:
    """Connect to a lab. Raises Unanswered if nothing listens there, or the socket belongs to another user.

    Root connects as the lab's user, since a lab in a user namespace sees all other users as `nobody`.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    connection.settimeout(PATIENCE_S)
    try:
        own = os.geteuid()
        if own == 0:
            os.seteuid(address.user)
        try:
            connection.connect(address.path)
        finally:
            if own == 0:
                os.seteuid(0)
        if caller(connection).user != address.user:
            raise Unanswered(f"the socket of the lab {address.name} belongs to another user")
    except OSError as error:
        connection.close()
        raise Unanswered(f"the lab {address.name} does not answer: {error.strerror or error}") from None
    except Unanswered:
        connection.close()
        raise
    return connection


def say(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message; descriptors beyond the limit follow in further messages."""
    first, rest = descriptors[:_MOST_FDS], descriptors[_MOST_FDS:]
    socket.send_fds(connection, [json.dumps(message | {"more": bool(rest)}).encode()], first)
    if rest:
        say(connection, {}, rest)


def hear(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive a message and its descriptors, which the caller must close; the message is empty at end of file."""
    whole: dict[str, Any] = {}
    descriptors: list[int] = []
    while True:
        data, ancillary, flags, _ = connection.recvmsg(
            _MOST_BYTES, socket.CMSG_SPACE(_MOST_FDS * 4), socket.MSG_CMSG_CLOEXEC
        )
        descriptors += _descriptors(ancillary)
        try:
            message = json.loads(data) if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else None
        except ValueError:
            message = None
        if not isinstance(message, dict):
            close(descriptors)
            return {}, []
        more = message.pop("more", False)
        whole |= message
        if not more:
            return whole, descriptors


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()


def close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
