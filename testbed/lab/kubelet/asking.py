"""Probes and hooks of a container by HTTP and TCP, asked from the node's network as kubelet does."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.kernel.namespace import Namespace
from testbed.kubernetes.models.pods import Container, Grpc, HttpGet, TcpSocket

USER_AGENT = "kube-probe/1.37"
MAX_LINE = 65536
NO_SERVER = "the pod has no address"


@dataclass(frozen=True)
class Target:
    """Where a pod is asked: from its node's network, at its first address."""

    network: Namespace
    address: str


async def ask(target: Target, container: Container, question: HttpGet | TcpSocket | Grpc, patience_s: float) -> str:
    """Ask a container; empty if it answers well, otherwise the reason."""
    port = port_of(container, question.port)
    if port is None:
        return f"couldn't find port: {question.port}"
    # gRPC is asked by a connection alone.
    host = target.address if isinstance(question, Grpc) else question.host or target.address
    if not host:
        return NO_SERVER
    try:
        async with asyncio.timeout(patience_s):
            connection = await _connected(target.network, host, port)
            if isinstance(question, HttpGet):
                return await _http(connection, host, port, question)
            connection.close()
            return ""
    except TimeoutError:
        return f"{_what(question, host, port)}: no answer within {patience_s:g} s"
    except (OSError, ValueError) as error:
        return f"{_what(question, host, port)}: {getattr(error, 'strerror', None) or error}"


def port_of(container: Container, port: int | str) -> int | None:
    """The number of a port, which may be the name of one of the container's ports."""
    if isinstance(port, int):
        return port
    return next((one.container_port for one in container.ports if one.name == port), None)


def _what(question: HttpGet | TcpSocket | Grpc, host: str, port: int) -> str:
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{question.scheme.lower()}://{at}{question.path}" if isinstance(question, HttpGet) else f"connect to {at}"


async def _connected(network: Namespace, host: str, port: int) -> socket.socket:
    """A connection from a network. Its socket stays in the network in which it was made."""
    with network.entered():
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except BaseException:
        connection.close()
        raise
    return connection


async def _http(connection: socket.socket, host: str, port: int, question: HttpGet) -> str:
    context = None
    if question.scheme == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # As kubelet does.
    reader, writer = await asyncio.open_connection(
        sock=connection, ssl=context, server_hostname=host if context else None, limit=MAX_LINE
    )
    try:
        writer.write(_request(host, port, question))
        words = (await reader.readline()).split(maxsplit=2)
        await reader.read(MAX_LINE)  # Otherwise the kernel would reset the connection.
    finally:
        writer.transport.abort()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return "the answer is not HTTP"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _request(host: str, port: int, question: HttpGet) -> bytes:
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": at, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {one["name"].title(): one["value"] for one in question.http_headers}
    lines: Sequence[str] = (f"GET {question.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()))
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
