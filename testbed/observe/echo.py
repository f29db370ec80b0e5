"""Echo requests over ICMP and ICMPv6, and their replies."""

import os
import socket
import struct

_HEADER = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number (RFC 792, RFC 4443)."""
_REQUEST = {4: 8, 6: 128}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_IP_HEADER = {4: 20, 6: 40}
_RECEIVED_WITH = {4: 20, 6: 0}
"""Bytes of IP header in front of the data that a raw socket receives."""
_SOL_RAW, _ICMP_FILTER = 255, 1
_ALL_BUT_REPLIES = {
    4: struct.pack("=I", 0xFFFFFFFF & ~(1 << 0)),
    6: struct.pack("=8I", *(0xFFFFFFFF & ~((1 << 129 % 32) if word == 129 // 32 else 0) for word in range(8))),
}
"""Message types that a raw socket does not receive, one bit each (icmp(7), RFC 3542 section 3.2)."""


def echo_socket(version: int) -> socket.socket:
    """A non-blocking raw socket in the calling thread's namespace that receives only echo replies."""
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, _PROTOCOL[version])
    sock.setblocking(False)
    sock.setsockopt(_SOL_RAW if version == 4 else _PROTOCOL[6], _ICMP_FILTER, _ALL_BUT_REPLIES[version])
    return sock


def echo_request(version: int, body: bytes) -> bytes:
    """An echo request for a raw socket; the reply has the same body."""
    number = os.getpid() & 0xFFFF
    header = _HEADER.pack(_REQUEST[version], 0, 0, number, 1)
    if version == 6:  # The kernel fills in the checksum.
        return header + body
    even = header + body + bytes(len(body) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return _HEADER.pack(_REQUEST[version], 0, ~total & 0xFFFF, number, 1) + body


def room_in(version: int, size: int) -> int:
    """Length of the body of a request whose IP packet has that size, in bytes."""
    return size - _IP_HEADER[version] - _HEADER.size


def reply_in(version: int, received: bytes) -> bytes:
    """The body of the reply that a raw socket has received."""
    return received[_RECEIVED_WITH[version] + _HEADER.size :]
