"""Sockets in the network namespaces of pods.

A socket stays in the namespace in which it was created, and keeps that namespace alive. So no descriptor of a namespace
is needed later: the kernel gives one from a socket (SIOCGSKNS).
"""

import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_SIOCGSKNS = 0x894C
_BACKLOG = 4096
_KEEP_ALIVE_S = 15
"""As Go's servers: a client that disappeared is noticed after about two minutes."""
IPPROTO_SCTP = 132
_KINDS = {
    "TCP": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "UDP": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "SCTP": (socket.SOCK_STREAM, IPPROTO_SCTP),
}
_libc = ctypes.CDLL(None, use_errno=True)


class NotSupported(Exception):
    """This kernel lacks the protocol."""


@contextmanager
def entered(network: int) -> Iterator[None]:
    """Sockets created in this context belong to the namespace. Raises OSError."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set_namespace(network)
        try:
            yield
        finally:
            _set_namespace(before)
    finally:
        os.close(before)


def beside(sock: socket.socket, family: int, kind: int, protocol: int) -> socket.socket:
    """A new socket that does not block, in the namespace of another one. Raises OSError."""
    network = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    try:
        with entered(network):
            return socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    finally:
        os.close(network)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bound(number: int, protocol: str) -> socket.socket:
    """A socket on this port of all addresses, IPv4 and IPv6 in one; only IPv4 where the kernel has no IPv6.

    A stream socket listens. It reuses an address whose earlier connections are in TIME_WAIT, which never allows two
    listeners. Datagram sockets must not reuse addresses: two could then have the same port.

    Raises NotSupported, or OSError such as EADDRINUSE.
    """
    kind, code = _KINDS[protocol]
    sock = _new(kind, code)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::" if sock.family == socket.AF_INET6 else "", number))
        if protocol == "TCP":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_S)
        elif protocol == "UDP" and sock.family == socket.AF_INET6:
            # The address that a datagram was sent to, from which its answer must come.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _new(kind: int, code: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, kind | socket.SOCK_NONBLOCK, code)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return sock
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            raise NotSupported from None
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK, code)


def plain(address: str) -> str:
    """An address as people write it: an IPv4 address of a socket for both families without its prefix."""
    return address.removeprefix("::ffff:")


def with_port(address: str, port: int) -> str:
    """As Go prints it: 10.0.0.1:80 or [fd00::1]:80."""
    address = plain(address)
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
