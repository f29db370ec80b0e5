"""Containers that the stand-in serves: requests in batches, states to the runs that wait for them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from testbed.lab.standin import KILLED, Served, ServedState, StandIn


class Waiting(Protocol):
    """A run that the stand-in serves."""

    @property
    def id(self) -> str: ...

    def serves(self, left_out: str = "") -> None: ...

    def end(self, code: int = 0, message: str = "") -> None: ...


FAILED = 1
"""Exit code of a container that cannot have one of its ports."""


class StandIns:
    """The stand-in, as the kubelet's loop uses it."""

    def __init__(self, make: Callable[[Callable[[], None]], StandIn], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._client = make(self._look_soon)
        self._runs: dict[str, Waiting] = {}
        self._states: dict[str, ServedState] = {}
        self._fresh: list[Served] = []
        self._forgotten: list[str] = []
        self._is_due = False

    def serve(self, run: Waiting, served: Served) -> None:
        """Begin to serve a container; `run` gets its states."""
        self._runs[served.id] = run
        self._fresh.append(served)
        self._send_soon()

    def stop(self, run: Waiting, grace_s: float) -> None:
        """Let a container end, within a grace period."""
        self._client.stop([run.id], grace_s)

    def forget(self, run: Waiting) -> None:
        """Stop serving a container at once."""
        if self._runs.get(run.id) is run:
            del self._runs[run.id]
            self._states.pop(run.id, None)
            self._forgotten.append(run.id)
            self._send_soon()

    def set_ready(self, run: Waiting, ready: bool) -> None:
        self._client.set_ready(run.id, ready)

    def _send_soon(self) -> None:
        """Send once for all requests of this turn of the loop."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        forgotten, self._forgotten = self._forgotten, []
        fresh, self._fresh = self._fresh, []
        if forgotten:
            self._client.forget(forgotten)
        if fresh:
            self._client.serve(fresh)

    def _look_soon(self) -> None:
        """Called by the client, in its thread, when a state has changed."""
        with suppress(RuntimeError):  # The loop is closed before the client.
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        for id_, state in self._client.states().items():
            run = self._runs.get(id_)
            if run is None or self._states.get(id_) == state:
                continue
            self._states[id_] = state
            match state.phase:
                case "serving":
                    run.serves("; ".join(state.left_out))
                case "failed":
                    run.end(state.exit_code or FAILED, state.reason)
                case "ended":
                    run.end(KILLED if state.exit_code is None else state.exit_code)

    def down(self) -> None:
        self._client.down()
