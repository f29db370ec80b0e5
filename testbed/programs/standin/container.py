"""One served container: what it is, its sockets and connections, its readiness, and its end."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from testbed.programs.standin.model import Facts, Port
from testbed.programs.standin.networks import NotSupported, bound


class Closable(Protocol):
    def close(self) -> None: ...


class CannotServe(Exception):
    """A port cannot be opened; the text names it and the reason."""


class Container:
    __slots__ = (
        "_on_change",
        "connections",
        "delay_s",
        "facts",
        "network",
        "number",
        "ports",
        "ready",
        "ready_paths",
        "sockets",
        "timer",
    )

    def __init__(
        self,
        number: int,
        facts: Facts,
        ports: tuple[Port, ...],
        delay_s: float,
        ready_paths: tuple[str, ...],
        on_change: Callable[["Container", int | None], None],
    ) -> None:
        """`on_change` is called when readiness changes (None), and at the end with the exit code."""
        self.number = number
        self.facts = facts
        self.ports = ports
        self.delay_s = delay_s
        """Time that it goes on serving when it is stopped."""
        self.ready_paths = ready_paths
        self.ready = True
        self.sockets: tuple[socket.socket, ...] = ()
        self.connections: set[Closable] = set()
        self.network = 0
        """Inode of its network namespace."""
        self.timer: asyncio.TimerHandle | None = None
        self._on_change = on_change

    def open(self) -> tuple[str, ...]:
        """Open all ports, in the current network namespace; return those that this kernel cannot serve, with reasons.

        Raises CannotServe; no port is then open.
        """
        opened: list[tuple[Port, socket.socket]] = []
        left_out = []
        for port in self.ports:
            try:
                opened.append((port, bound(port.number, port.protocol)))
            except NotSupported:
                left_out.append(f"{port}: not served, this kernel lacks {port.protocol}")
            except OSError as error:
                for _, sock in opened:
                    sock.close()
                raise CannotServe(f"{port}: {(error.strerror or str(error)).lower()}") from error
        self.ports = tuple(port for port, _ in opened)
        self.sockets = tuple(sock for _, sock in opened)
        return tuple(left_out)

    def set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._on_change(self, None)

    def end_in(self, seconds: float, code: int) -> None:
        """End after this time, or earlier if that is already due."""
        loop = asyncio.get_running_loop()
        if self.timer is not None:
            if self.timer.when() <= loop.time() + seconds:
                return
            self.timer.cancel()
        if seconds <= 0:
            self.end(code)
        else:
            self.timer = loop.call_later(seconds, self.end, code)

    def stop(self, grace_s: float) -> None:
        """End as a process does at SIGTERM, or at SIGKILL if its delay is longer than the grace period."""
        in_time = self.delay_s <= grace_s
        self.end_in(min(self.delay_s, grace_s), 0 if in_time else 137)

    def end(self, code: int) -> None:
        """Close all sockets and report the end; nothing happens the second time."""
        if self.timer is not None:
            self.timer.cancel()
        self.close()
        self._on_change(self, code)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            loop.remove_reader(sock.fileno())
            sock.close()
        self.sockets = ()
        for connection in tuple(self.connections):
            connection.close()
