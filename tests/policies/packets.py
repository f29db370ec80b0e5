"""Real packets between places of a lab: which of many connections get through, all tried at once."""

import errno
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

from testbed.lab.lab import Lab

PATIENCE_S = 20.0
"""For a connection that should get through."""
GRACE_S = 0.12
"""After the last of these, for a connection that should not."""
AGAIN_S = 0.3
"""Until datagrams without an answer are sent again."""
_SCTP = 132


class Try(NamedTuple):
    """A connection to try: places of a lab, an address of the target, a protocol and a port."""

    source: str
    target: str
    address: str
    protocol: str
    port: int


def through(lab: Lab, tries: Iterable[Try], expected: Iterable[Try]) -> set[Try]:
    """The tries that get through. `expected` only decides how long to wait.

    TCP: the connection is established; UDP: the answer comes back; SCTP: the first packet arrives.
    """
    with ExitStack() as stack:
        return _Round(lab, stack, list(tries)).done(set(expected))


class _Round:
    def __init__(self, lab: Lab, stack: ExitStack, tries: list[Try]) -> None:
        self.lab, self.stack = lab, stack
        self.selector = stack.enter_context(selectors.DefaultSelector())
        self.found: set[Try] = set()
        self.tagged: list[Try] = []
        """The tries by SCTP, by the tag in their packet: translation of addresses may change ports."""
        self.again: dict[Try, tuple[socket.socket, bytes]] = {}
        """What to send again, as datagrams may get lost."""
        for place, address, protocol, port in sorted({one[1:] for one in tries}):
            self._serve(place, address, protocol, port)
        for one in tries:
            self._send(one)

    def _socket(self, place: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with self.lab.namespaces[place].entered():
            made = self.stack.enter_context(socket.socket(family, kind, protocol))
        made.setblocking(False)
        return made

    def _serve(self, place: str, address: str, protocol: str, port: int) -> None:
        family = _family(address)
        if protocol == "SCTP":
            listener = self._socket(place, family, socket.SOCK_RAW, _SCTP)
        else:
            kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
            listener = self._socket(place, family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            if protocol == "TCP":
                listener.listen(64)
                return
        self.selector.register(listener, selectors.EVENT_READ, (protocol, place, port))

    def _send(self, one: Try) -> None:
        family = _family(one.address)
        match one.protocol:
            case "TCP":
                made = self._socket(one.source, family, socket.SOCK_STREAM)
                if made.connect_ex((one.address, one.port)) in (0, errno.EINPROGRESS):
                    self.selector.register(made, selectors.EVENT_WRITE, one)
            case "UDP":
                made = self._socket(one.source, family, socket.SOCK_DGRAM)
                with suppress(OSError):
                    made.connect((one.address, one.port))
                    self.again[one] = made, b"?"
                    self.selector.register(made, selectors.EVENT_READ, one)
                    made.send(b"?")
            case "SCTP":
                made = self._socket(one.source, family, socket.SOCK_RAW, _SCTP)
                self.tagged.append(one)
                with suppress(OSError):
                    made.connect((one.address, 0))
                    self.again[one] = made, _init(len(self.tagged), one.port)
                    made.send(self.again[one][1])

    def done(self, expected: set[Try]) -> set[Try]:
        """Wait for the expected ones, and then a little for others."""
        self._wait(PATIENCE_S, expected)
        self._wait(GRACE_S, None)
        return self.found

    def _wait(self, seconds: float, expected: set[Try] | None) -> None:
        end = time.monotonic() + seconds
        while (expected is None or not expected <= self.found) and (left := end - time.monotonic()) > 0:
            ready = self.selector.select(min(left, AGAIN_S))
            for key, _ in ready:
                self._event(key)
            for one in (expected or set()) - self.found if not ready else ():
                if one in self.again:
                    made, packet = self.again[one]
                    with suppress(OSError):
                        made.send(packet)

    def _event(self, key: selectors.SelectorKey) -> None:
        made = key.fileobj
        assert isinstance(made, socket.socket)
        if not isinstance(key.data, Try):
            self._arrived(made, *key.data)
            return
        self.selector.unregister(made)
        if made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            if key.data.protocol == "UDP":
                with suppress(OSError):
                    made.recv(1)
                    self.found.add(key.data)
            else:
                self.found.add(key.data)

    def _arrived(self, made: socket.socket, protocol: str, place: str, port: int) -> None:
        with suppress(OSError):
            data, sender = made.recvfrom(2048)
            if protocol == "UDP":
                made.sendto(b"!", sender)
                return
            header = data[(data[0] & 15) * 4 :] if made.family == socket.AF_INET else data
            target, tag = struct.unpack_from("!2xH12xI", header)
            one = self.tagged[tag - 1]
            if (one.target, one.port) == (place, port) and target == port:
                self.found.add(one)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _init(tag: int, port: int) -> bytes:
    """An SCTP packet with an INIT chunk, which has this tag."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, tag, 65535, 1, 1, 1)
    header = struct.pack("!HHI", 1024 + tag, port, 0)
    return header + struct.pack("<I", _crc32c(header + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def all_tries(ways: Iterable[tuple[str, str, str]], ports: Iterable[tuple[str, int]]) -> Iterator[Try]:
    """Tries for each way (source, target, address) at each port."""
    ports = tuple(ports)
    return (Try(*way, protocol, port) for way in ways for protocol, port in ports)
