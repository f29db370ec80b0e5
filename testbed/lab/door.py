"""The door of a lab that is up: an abstract Unix socket, by which other processes find the lab and enter it.

Its name, `testbed/USER/LAB`, is in no folder: it goes with the process that holds it, however that ends. Anybody on the
machine can see and knock at such a socket, so either side looks at who the other one is (SO_PEERCRED, which the kernel
fills in): a lab answers its own user and root; a caller believes a socket of its user's, or, as root, of the user that
the name says.

Each message is one JSON object, with descriptors beside it: namespaces and files are handed over as such, so that no
process number can come to mean something else on the way.

`exec` should cost no more than its command, so this module, `entering` and `living` import little: no dataclasses, no
pathlib, which take longer to load than a lab to enter.
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
"""In one message; the kernel takes 253."""
_MOST_BYTES = 1 << 16
_CREDENTIALS = struct.Struct("3i")
PATIENCE_S = 5.0
"""How long either side waits for the other's next message."""


class Unanswered(Exception):
    """There is no such lab, or not one of this user's, or it does not answer."""


class Address(NamedTuple):
    """Whose lab, and its name."""

    user: int
    name: str

    @property
    def path(self) -> str:
        """As Unix sockets are named: abstract, by the zero byte in front."""
        return f"\0{_PREFIX}{self.user}/{self.name}"


class Caller(NamedTuple):
    """Who is at the other end of a connection."""

    pid: int
    user: int


def caller(connection: socket.socket) -> Caller:
    """The process and user that connected, or that listened; as the calling process's namespaces number them."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(raw)
    return Caller(pid, user)


def bound(address: Address) -> socket.socket:
    """The lab's socket, not listening yet. Raises FileExistsError if a lab of that name is up already."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        door.bind(address.path)
    except OSError:
        door.close()
        raise FileExistsError(address.name) from None
    return door


def addresses() -> tuple[Address, ...]:
    """Every lab whose door can be seen, of whatever user, sorted by name; one that is closing may be among them."""
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
    """A connection to a lab. Raises Unanswered if nobody listens there, or somebody who has no right to the name.

    Root knocks as the lab's own user: a lab in a user namespace sees all others as one and the same nobody.
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
            raise Unanswered(f"what calls itself {address.name} belongs to another user")
    except OSError as error:
        connection.close()
        raise Unanswered(f"the lab {address.name} does not answer: {error.strerror or error}") from None
    except Unanswered:
        connection.close()
        raise
    return connection


def say(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends a message; descriptors that do not fit into one follow in others."""
    first, rest = descriptors[:_MOST_FDS], descriptors[_MOST_FDS:]
    socket.send_fds(connection, [json.dumps(message | {"more": bool(rest)}).encode()], first)
    if rest:
        say(connection, {}, rest)


def hear(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors, which are the caller's to close; an empty one if the other side hung up."""
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
