"""netexec's /dial: requests from the container's pod to another address, over HTTP, UDP or SCTP."""

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from testbed.programs.standin.http11 import Answer, as_json, whole_number
from testbed.programs.standin.networks import IPPROTO_SCTP, beside

PATIENCE_S = 5.0
"""As netexec: for each request."""
MOST_TRIES = 1000
_LARGEST_ANSWER = 1 << 20
_DATAGRAM = 2048
_LARGEST_PORT = 65535


class BadDial(Exception):
    """A parameter is missing or invalid."""


class Wanted(NamedTuple):
    host: str
    port: int
    request: str
    protocol: str
    tries: int

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def wanted(values: Mapping[str, str]) -> Wanted:
    """What a request asks to dial. Raises BadDial."""
    protocol = values.get("protocol", "").lower() or "http"
    if protocol not in _DIALLERS:
        raise BadDial(f"unsupported protocol. {protocol}; expected http, udp or sctp")
    tries = whole_number(values.get("tries") or "1", MOST_TRIES)
    if not tries:
        raise BadDial(f"tries parameter is invalid. {values['tries']!r}; expected 1 to {MOST_TRIES}")
    if not values.get("request"):
        raise BadDial("request parameter not specified.")
    port = whole_number(values.get("port", ""), _LARGEST_PORT)
    if not port:
        raise BadDial(f"host and/or port param are invalid. port {values.get('port', '')!r}; expected 1 to 65535")
    return Wanted(_address(values.get("host", "").strip("[]")), port, values["request"], protocol, tries)


def _address(host: str) -> str:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, host))
        except (OSError, ValueError):
            continue
    raise BadDial(f"host and/or port param are invalid. host {host!r}; a stand-in resolves no names, give an address")


async def dialled(target: Wanted, within: socket.socket) -> Answer:
    """The responses and errors of all tries, from the network namespace of a socket."""
    responses, errors = [], []
    failed = False
    for _ in range(target.tries):
        try:
            responses.append(await _once(target, within))
            failed = False
        except (OSError, EOFError, ValueError) as error:
            errors.append(_reason(target, error))
            failed = True
    output = {"responses": responses} if responses else {}
    return as_json(output | ({"errors": errors} if errors else {}), 417 if failed else 200)


def _reason(target: Wanted, error: Exception) -> str:
    number = getattr(error, "errno", None)
    why = "i/o timeout" if isinstance(error, TimeoutError) else os.strerror(number) if number else str(error)
    return f"{target.protocol} {target.host}:{target.port}: {why.lower()}"


async def _once(target: Wanted, within: socket.socket) -> str:
    kind, code, ask = _DIALLERS[target.protocol]
    with beside(within, target.family, kind, code) as sock:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(sock, (target.host, target.port))
            return (await ask(target, sock)).decode(errors="replace")


async def _ask_http(target: Wanted, sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    host = f"[{target.host}]" if ":" in target.host else target.host
    path = re.sub(r"[\x00-\x20\x7f]", lambda found: f"%{ord(found[0]):02X}", target.request.lstrip("/"))
    head = f"GET /{path} HTTP/1.1\r\nHost: {host}:{target.port}\r\nUser-Agent: netexec\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(sock, head.encode("latin-1", "replace"))
    received = b""
    while len(received) < _LARGEST_ANSWER and (data := await loop.sock_recv(sock, 64 << 10)):
        received += data
    first, _, rest = received.partition(b"\r\n\r\n")
    if not first.startswith(b"HTTP/1."):
        raise EOFError("EOF" if not received else "malformed HTTP response")
    if re.search(rb"(?im)^transfer-encoding:.*chunked", first):
        return _unchunked(rest)
    length = re.search(rb"(?im)^content-length: *([0-9]+)", first)
    if length and len(rest) < min(int(length[1]), _LARGEST_ANSWER):
        raise EOFError("unexpected EOF")
    return rest


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        number = int(size.partition(b";")[0] or b"0", 16)
        if not number:
            return whole
        whole, data = whole + data[:number], data[number + 2 :]


async def _ask_words(target: Wanted, sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, target.request.encode())
    answer = await loop.sock_recv(sock, _DATAGRAM)
    if not answer:
        raise EOFError("EOF")
    return answer


_DIALLERS: dict[str, tuple[int, int, Callable[[Wanted, socket.socket], Awaitable[bytes]]]] = {
    "http": (socket.SOCK_STREAM, 0, _ask_http),
    "udp": (socket.SOCK_DGRAM, 0, _ask_words),
    "sctp": (socket.SOCK_STREAM, IPPROTO_SCTP, _ask_words),
}
"""By protocol: the kind and the protocol of the socket, and the conversation."""
