"""TCP connections: HTTP/1.1 requests in, answers out.

Answers that need no waiting are sent at once. Anything else (a dial, a large body, a client that does not read) goes on
in a task, and meanwhile nothing more is read from that connection.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from testbed.programs.standin import netexec
from testbed.programs.standin.container import Container
from testbed.programs.standin.http11 import (
    LONGEST_HEAD,
    Answer,
    Refused,
    Request,
    end_of_head,
    is_request_line,
    parsed,
    rendered,
)
from testbed.programs.standin.model import Port
from testbed.programs.standin.networks import with_port
from testbed.programs.standin.words import answered

_READ = 64 << 10
_KEPT_BODY = 64 << 10
"""Bytes of a request's body that are kept; the rest is read and discarded."""
_BLOCK = bytes(128 << 10)
_LINGER_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection:
    __slots__ = (
        "_body",
        "_buffer",
        "_container",
        "_is_ending",
        "_is_refused",
        "_left",
        "_loop",
        "_peer",
        "_port",
        "_request",
        "_sock",
        "_task",
    )

    def __init__(self, container: Container, port: Port, sock: socket.socket, peer: tuple[str, int]) -> None:
        self._container, self._port, self._peer = container, port, peer
        self._sock = sock
        self._buffer = b""
        self._request: Request | None = None
        """The request whose body is being read."""
        self._body = b""
        self._left = 0
        """Bytes of the body that are still to come."""
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False
        """Whether the connection closes after the answer that the task sends."""
        self._is_refused = False
        """Whether the rest of what the client sends is of no interest."""
        self._loop = asyncio.get_running_loop()
        container.connections.add(self)
        self._loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
            self._buffer = b""
        if data:
            self._buffer = self._buffer + data if self._buffer else data
            self._proceed()
        elif self._buffer and self._request is None and b"\n" not in self._buffer:
            self._buffer += b"\n"  # The last line of a client that has sent all.
            self._proceed(ending=True)
        else:
            self.close()

    def _proceed(self, ending: bool = False) -> None:
        """Answer what is complete in the buffer, in order, until an answer takes time."""
        out = b""
        while self._buffer or (self._request and not self._left):
            try:
                step = self._step()
            except Refused as refused:
                self._is_refused = True
                return self._finish(out + rendered(refused.answer, None))
            if step is None:
                break
            if isinstance(step, bytes):
                out += step
                continue
            request, answer = step
            if not isinstance(answer, Answer):
                return self._later(out, request, answer)
            out += rendered(answer, request)
            if answer.zeros and request.method != "HEAD":
                self._is_ending = not request.keep_alive
                return self._begin(self._write(out, answer.zeros))
            if not request.keep_alive:
                return self._finish(out)
        if ending:
            return self._finish(out)
        if out:
            self._send(out)
        return None

    def _step(self) -> bytes | tuple[Request, netexec.Result] | None:
        """What follows from the buffer: bytes to send, a request and its answer, or None if it needs more bytes."""
        if self._request is None:
            if self._buffer[:1] in (b"\r", b"\n"):  # Empty lines before a request are to be ignored (RFC 9112).
                self._buffer = self._buffer.lstrip(b"\r\n")
                return b""
            line_end = self._buffer.find(b"\n") + 1
            if not line_end or not is_request_line(self._buffer[:line_end]):
                return self._raw(line_end)
            end = end_of_head(self._buffer)
            if end < 0:
                if len(self._buffer) > LONGEST_HEAD:
                    raise Refused(431, f"the request's head is longer than {LONGEST_HEAD} bytes")
                return None
            self._request = parsed(self._buffer[:end])
            self._buffer, self._body, self._left = self._buffer[end:], b"", self._request.length
            if self._request.expects and self._left and not self._buffer:
                return _CONTINUE
        if self._left:
            arrived = self._buffer[: self._left]
            self._buffer = self._buffer[self._left :]
            self._left -= len(arrived)
            self._body += arrived[: _KEPT_BODY - len(self._body)]
            if self._left:
                return None
        request, self._request = self._request, None
        asked = netexec.Asked(self._container, self._port, self._sock, with_port(*self._peer), request, self._body)
        return request, netexec.answered(asked)

    def _raw(self, line_end: int) -> bytes | None:
        """The answer to a line that is no HTTP: netexec's text commands work here too."""
        if not line_end:
            if len(self._buffer) > LONGEST_HEAD:
                raise Refused(414, f"the first line is longer than {LONGEST_HEAD} bytes")
            if not self._buffer[:1].isalnum():
                raise Refused(400, "this port speaks HTTP/1.1, without TLS")
            return None
        line, self._buffer = self._buffer[:line_end], self._buffer[line_end:]
        answer = answered(line, self._container.facts.host_name, with_port(*self._peer))
        if answer is None:
            raise Refused(400, "the first line is not `METHOD TARGET HTTP/1.1`")
        return answer + b"\n"

    def _send(self, data: bytes) -> None:
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return self.close()
        if sent < len(data):
            self._begin(self._write(data[sent:]))
        return None

    def _finish(self, data: bytes) -> None:
        """Send the last answer, and close."""
        self._is_ending = True
        self._send(data)
        if self._task is None:
            self._end()

    def _end(self) -> None:
        """Close; after a refusal, let the client first read why: more data of a request would be answered by RST."""
        if not self._is_refused or self._sock.fileno() < 0:
            return self.close()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:  # The client has reset the connection.
            return self.close()
        self._loop.add_reader(self._sock.fileno(), self._discard)
        self._loop.call_later(_LINGER_S, self.close)
        return None

    def _discard(self) -> None:
        try:
            if self._sock.recv(_READ):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.close()

    def _later(self, out: bytes, request: Request, later: netexec.Later) -> None:
        """Send `out`, then the awaited answer, and go on with the next request. No answer: close."""

        async def work() -> None:
            answer = await later()
            if answer is None:
                return self.close()
            await self._write(out + rendered(answer, request))
            return None

        self._is_ending = not request.keep_alive
        self._begin(work())

    async def _write(self, data: bytes, zeros: int = 0) -> None:
        """Send all, however long the client takes; then go on with the next request, or close."""
        await self._loop.sock_sendall(self._sock, data)
        while zeros > 0:
            block = _BLOCK[:zeros]
            await self._loop.sock_sendall(self._sock, block)
            zeros -= len(block)
        self._task = None
        if self._is_ending:
            return self._end()
        self._loop.add_reader(self._sock.fileno(), self._read)
        self._proceed()
        return None

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.close()
            if not isinstance(error, OSError):  # Otherwise the client has reset the connection.
                raise error

    def close(self) -> None:
        """Close with FIN: what has arrived is read first, since the kernel answers unread bytes with RST."""
        self._container.connections.discard(self)
        if self._sock.fileno() < 0:
            return
        # Both before the descriptor is closed: its number can be used again before a cancelled task has run.
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        _drain(self._sock)
        self._sock.close()


def _drain(sock: socket.socket) -> None:
    try:
        for _ in range(64):
            if not sock.recv(_READ):
                return
    except OSError:
        return
