"""Probes and hooks of a container: one question of any kind, and questions repeated until they count."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from testbed.kubernetes.environment import ConfigError
from testbed.kubernetes.images import Command, StandIn
from testbed.kubernetes.models.pods import Container, Exec, Handler, Hook, HttpGet, Probe
from testbed.lab.kubelet.asking import ask
from testbed.lab.kubelet.home import Home
from testbed.lab.kubelet.process import execute

HOOK_PATIENCE_S = 3600.0
"""For hooks, which end with their container at the latest."""
MAX_OUTPUT = 1024


async def answer(home: Home, container: Container, what: Command | StandIn, question: Handler | Hook) -> str:
    """The answer to a probe or a hook: empty if it succeeds, otherwise the reason.

    Commands run in containers with programs of the machine alone; on a stand-in they count as a success.
    """
    patience_s = float(question.timeout_seconds) if isinstance(question, Probe) else HOOK_PATIENCE_S
    if isinstance(question, Hook) and question.sleep:
        await asyncio.sleep(question.sleep.seconds)
        return ""
    if question.exec:
        return await _executed(home, container, question.exec, patience_s) if isinstance(what, Command) else ""
    asked = question.http_get or question.tcp_socket or (question.grpc if isinstance(question, Handler) else None)
    if isinstance(asked, HttpGet) and isinstance(what, StandIn):
        asked = asked.model_copy(update={"scheme": "HTTP"})  # It has no certificates.
    return await ask(home.target, container, asked, patience_s) if asked else ""


async def _executed(home: Home, container: Container, question: Exec, patience_s: float) -> str:
    try:
        variables = home.environment(container)
    except ConfigError as error:
        return str(error)
    code, printed = await execute(home.places, home.place, question.command, variables, patience_s)
    if code is None:
        return f"command timed out after {patience_s:g} s"
    return f"command failed with exit code {code}: {printed[-MAX_OUTPUT:].strip()}" if code else ""


async def verdicts(probe: Probe, asked: Callable[[], Awaitable[str]], began: float) -> AsyncIterator[str]:
    """Each verdict of a probe that reaches its threshold: empty for a success, otherwise the reason.

    `began` is the time at which the container started.
    """
    await asyncio.sleep(max(0.0, began + probe.initial_delay_seconds - time.time()))
    verdict: bool | None = None
    row, last = 0, None
    while True:
        failure = await asked()
        row = row + 1 if last == bool(failure) else 1
        last = bool(failure)
        if row >= (probe.failure_threshold if last else probe.success_threshold) and verdict != last:
            verdict = last
            yield failure
        await asyncio.sleep(probe.period_seconds)
