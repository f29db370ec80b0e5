"""Callbacks of the event loop for the ports of a container: connections accepted, datagrams answered."""

import asyncio
import socket

from testbed.programs.standin.connection import Connection
from testbed.programs.standin.container import Container
from testbed.programs.standin.model import Port
from testbed.programs.standin.networks import with_port
from testbed.programs.standin.words import answered

_BATCH = 64
"""Connections or datagrams taken from one port before others have their turn."""
_PAUSE_S = 0.5
"""Time without accepting, when all descriptors are in use."""
_LARGEST = 65536
_IPV6_PKTINFO_SIZE = 20


def serve(container: Container) -> None:
    """Serve the open ports of a container."""
    for port, sock in zip(container.ports, container.sockets, strict=True):
        listen = _SERVERS[port.protocol]
        asyncio.get_running_loop().add_reader(sock.fileno(), listen, container, port, sock)


def _accept(container: Container, port: Port, listener: socket.socket) -> None:
    for _ in range(_BATCH):
        try:
            sock, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            _pause(container, port, listener)
            return
        sock.setblocking(False)
        if port.is_raw:
            _send_once(sock, (port.fixed or "").encode())
        elif port.protocol == "SCTP":
            _Exchange(container, port, sock, with_port(*peer[:2]))
        else:
            Connection(container, port, sock, peer[:2])
        if listener.fileno() < 0:  # The container has ended.
            return


def _pause(container: Container, port: Port, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    loop.remove_reader(listener.fileno())

    def again() -> None:
        if listener.fileno() >= 0:
            loop.add_reader(listener.fileno(), _accept, container, port, listener)

    loop.call_later(_PAUSE_S, again)


def _send_once(sock: socket.socket, data: bytes) -> None:
    """Send what fits a new connection's empty buffer, and close it."""
    with sock:
        try:
            sock.send(data)
        except OSError:
            return


class _Exchange:
    """An SCTP association: one command, one answer, then closed, as by netexec."""

    def __init__(self, container: Container, port: Port, sock: socket.socket, client: str) -> None:
        self._container, self._port, self._sock, self._client = container, port, sock, client
        container.connections.add(self)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_LARGEST)
            answer = _answer(self._container, self._port, data, self._client)
            if data and answer is not None:
                self._sock.send(answer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        self._container.connections.discard(self)
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()


def _receive(container: Container, port: Port, sock: socket.socket) -> None:
    for _ in range(_BATCH):
        try:
            data, ancillary, _, peer = sock.recvmsg(_LARGEST, socket.CMSG_SPACE(_IPV6_PKTINFO_SIZE))
            answer = _answer(container, port, data, with_port(*peer[:2]))
            if answer is not None:
                sock.sendmsg([answer], map(_source, ancillary), 0, peer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            continue  # An ICMP error of an earlier answer, or a client that cannot be reached.


def _source(message: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Send from the address that was asked, through whatever device leads to the client."""
    level, kind, data = message
    if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and not data.startswith(b"\xfe\x80"):
        data = data[:16] + bytes(4)
    return level, kind, data


def _answer(container: Container, port: Port, data: bytes, client: str) -> bytes | None:
    if port.fixed is not None:
        return port.fixed.encode()
    return answered(data, container.facts.host_name, client)


_SERVERS = {"TCP": _accept, "SCTP": _accept, "UDP": _receive}
