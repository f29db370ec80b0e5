"""The life of a container: it is started, probed, restarted and stopped. All in the kubelet's loop."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from signal import SIGTERM, Signals
from typing import Any

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.environment import ConfigError, expanded
from testbed.kubernetes.images import AGNHOST, Command, StandIn, base_name
from testbed.kubernetes.models.pods import Container, Hook, Probe
from testbed.kubernetes.pod_files import too_long
from testbed.lab.kubelet.home import Home
from testbed.lab.kubelet.log import Log
from testbed.lab.kubelet.probing import answer, verdicts
from testbed.lab.kubelet.runs import CANNOT_START, Exit, Idle, Programmed, Run, Standing
from testbed.lab.kubelet.status import CONFIG_ERROR, CRASH_LOOP, CREATING
from testbed.lab.standin import Facts, Port, Served

FIRST_BACK_OFF_S, MAX_BACK_OFF_S = 10.0, 300.0
FORGIVEN_S = 600.0
"""A container that has run for so long is restarted at once."""
CONFIG_RETRY_S = 5.0
LEAST_GRACE_S = 2.0
"""Time to end after a preStop hook has used up the grace period."""


def back_off(failures: int) -> float:
    """Seconds until a container is restarted after so many ends in a row: 0, 10, 20, 40, up to 300."""
    return min(FIRST_BACK_OFF_S * 2 ** (failures - 2), MAX_BACK_OFF_S) if failures > 1 else 0.0


def _probed(spec: Container) -> Iterator[tuple[int, str]]:
    """The ports that a container's probes name by number: an image serves them, whether it declares them or not.

    What agnhost serves is known from its command line.
    """
    if base_name(spec.image or "") == AGNHOST:
        return
    for probe in (spec.startup_probe, spec.readiness_probe, spec.liveness_probe):
        asked = probe and (probe.http_get or probe.tcp_socket or probe.grpc)
        if asked and isinstance(asked.port, int) and not getattr(asked, "host", ""):
            yield asked.port, "TCP"


class ContainerLife:
    """A container of a pod."""

    __slots__ = (
        *("home", "spec", "status", "log", "previous_log", "_what", "_policy"),
        *("_run", "_task", "_is_stopping", "_is_replaced", "_why", "_over", "_probes"),
    )

    def __init__(self, home: Home, spec: Container, what: Command | StandIn, policy: str, init: bool = False) -> None:
        self.home, self.spec = home, spec
        self.status = ContainerStatus(name=spec.name, image=spec.image or "", reason=CREATING, is_init=init)
        self.log: Log | None = None
        """Output of the current or last run; None if it ran no program."""
        self.previous_log: Log | None = None
        self._what, self._policy = what, policy
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = self._is_replaced = False
        self._why = ""
        """Why the current run is ended."""
        self._over: asyncio.Event | None = None
        """Set when the current run is over; for those who end it."""
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that goes on running."""
        return self.status.is_init and self.spec.restart_policy == "Always"

    @property
    def has_failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self.status.state == "terminated" and not self.status.has_succeeded

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return self._task is not None and self._task.done()

    def begin(self) -> "asyncio.Task[None]":
        """Run it until it has ended for good."""
        self._task = asyncio.get_running_loop().create_task(self._live())
        return self._task

    def _set(self, **fields: Any) -> None:
        self.status = replace(self.status, **fields)
        self.home.changed()

    async def _live(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            code = await self._once()
            if code is None:
                await asyncio.sleep(CONFIG_RETRY_S)
                continue
            if self._is_replaced and not self._is_stopping:
                self._is_replaced, failures = False, 0
            elif self._is_stopping or self._policy == "Never" or (self._policy == "OnFailure" and not code):
                return
            failures = 1 if time.monotonic() - began > FORGIVEN_S else failures + 1
            last = replace(self.status, last=None)
            if (pause := back_off(failures)) > 0:
                message = f"back-off {pause:g}s restarting failed container={self.spec.name} pod={self.home.title}"
                self._wait(CRASH_LOOP, message, last)
                await asyncio.sleep(pause)
            self._set(last=last, restart_count=self.status.restart_count + 1)

    async def _once(self) -> int | None:
        """Run it once; its exit code, or None if it cannot be started yet."""
        began = time.time()
        try:
            self._run = await self._started()
        except ConfigError as error:
            self._wait(CONFIG_ERROR, str(error), self.status.last)
            return None
        except (OSError, ValueError) as error:
            exit_ = Exit(CANNOT_START, str(error), "StartError")
        else:
            exit_ = await self._running(self._run, began)
        self._set(
            state="terminated",
            exit_code=exit_.code,
            reason=exit_.why,
            message=exit_.message,
            started_at=began,
            finished_at=time.time(),
            ready=exit_.code == 0 and self.status.is_init,
            started=False,
        )
        return exit_.code

    def _wait(self, reason: str, message: str, last: ContainerStatus | None) -> None:
        """Note that it waits; `last` is the run before."""
        fresh = ContainerStatus(name=self.status.name, image=self.status.image, is_init=self.status.is_init)
        count = self.status.restart_count
        self.status = replace(fresh, reason=reason, message=message, last=last, restart_count=count)
        self.home.changed()

    async def _started(self) -> Run:
        """The run, begun. Raises ConfigError, OSError."""
        self._why = ""
        if problem := too_long(self.home.pod):
            raise ConfigError(problem)
        match self._what:
            case Command(words) if words:
                variables = self.home.environment(self.spec)
                self.previous_log, self.log = self.log, Log(self.status.restart_count)
                words = tuple(expanded(word, variables) for word in words)
                places, place = self.home.places, self.home.place
                return await Programmed.start(places, place, words, variables, self.spec.working_dir, self.log)
            case StandIn(words):
                served = self._served(words)
                if served.ports and not self._completes:
                    return Standing(self.home.standins, served)
        idle = Idle()
        if self._completes or self.home.is_of_job:
            idle.end()
        return idle

    @property
    def _completes(self) -> bool:
        """Whether it is an init container for whose end the others wait: a stand-in for it completes at once."""
        return self.status.is_init and not self.is_sidecar

    def _served(self, words: Sequence[str]) -> Served:
        pod = self.home.pod
        facts = Facts(
            host_name=self.home.host_name,
            pod=pod.name,
            namespace=pod.namespace,
            node=pod.node,
            container=self.spec.name,
            image=self.spec.image or "",
            addresses=tuple(self.home.addresses.pod),
        )
        ready = self.spec.readiness_probe
        numbers = [*((port.container_port, port.protocol) for port in self.spec.ports), *_probed(self.spec)]
        return Served.of(
            id=f"{pod.uid}/{self.spec.name}",
            network=self.home.network.fd,
            facts=facts,
            ports=[Port(*port) for port in dict.fromkeys(numbers)],
            arguments=words,
            environment={one.name: one.value or "" for one in self.spec.env},
            ready_paths=[ready.http_get.path] if ready and ready.http_get else [],
        )

    async def _running(self, run: Run, began: float) -> Exit:
        """Wait for the end of a run, and probe it meanwhile."""
        left_out = await run.serving if isinstance(run, Standing) else ""
        ending: Awaitable[Exit]
        if self.spec.lifecycle.post_start:
            ending = asyncio.ensure_future(run.ended())
            await self._post_start(run, ending)
        else:
            ending = run.ended()
        self._set(state="running", reason="", message=left_out, exit_code=None, started_at=began, finished_at=None)
        if self.spec.startup_probe:
            self._probe(self._starting_up(self.spec.startup_probe, began))
        else:
            self._start_up(began)
        exit_ = await ending
        self._run = None
        for probe in self._probes:
            probe.cancel()
        self._probes.clear()
        if self._over:
            self._over.set()
            self._over = None
        return exit_._replace(message=self._why) if self._why else exit_

    async def _post_start(self, run: Run, ending: "asyncio.Future[Exit]") -> None:
        """Run the hook; if it fails, end the run."""
        assert self.spec.lifecycle.post_start
        asking = answer(self.home, self.spec, self._what, self.spec.lifecycle.post_start)
        hook: asyncio.Future[str] = asyncio.ensure_future(asking)
        await asyncio.wait((hook, ending), return_when=asyncio.FIRST_COMPLETED)
        if not hook.done():
            hook.cancel()
        elif failure := hook.result():
            self._why = f"PostStartHook failed: {failure}"
            run.kill()

    def _start_up(self, began: float) -> None:
        """Note that it has started, and probe it from now on."""
        readiness, liveness = self.spec.readiness_probe, self.spec.liveness_probe
        self._set(started=True, ready=readiness is None)
        if readiness:
            self._probe(self._getting_ready(readiness, began))
        if liveness:
            self._probe(self._staying_alive(liveness, began))

    def _probe(self, probing: Coroutine[Any, Any, None]) -> None:
        self._probes.add(asyncio.get_running_loop().create_task(probing))

    async def _starting_up(self, probe: Probe, began: float) -> None:
        async for failure in verdicts(probe, partial(answer, self.home, self.spec, self._what, probe), began):
            if failure:
                await self._restart(probe, f"Startup probe failed: {failure}")
            else:
                self._start_up(began)
            return

    async def _getting_ready(self, probe: Probe, began: float) -> None:
        async for failure in verdicts(probe, partial(answer, self.home, self.spec, self._what, probe), began):
            self._set(ready=not failure)

    async def _staying_alive(self, probe: Probe, began: float) -> None:
        async for failure in verdicts(probe, partial(answer, self.home, self.spec, self._what, probe), began):
            if failure:
                await self._restart(probe, f"Liveness probe failed: {failure}")
                return

    async def _restart(self, probe: Probe, why: str) -> None:
        """End the run because of a probe; in another task, as the probe's task ends with the run."""
        self._why = why
        grace = probe.termination_grace_period_seconds or self.home.pod.spec.termination_grace_period_seconds
        await asyncio.shield(asyncio.ensure_future(self._end_run(grace)))

    def replace(self, spec: Container, what: Command | StandIn) -> None:
        """Run another image from now on."""
        self.spec, self._what, self._is_replaced = spec, what, True
        self._set(image=spec.image or "")
        self._why = f"Container {spec.name} definition changed, will be restarted"
        ending = self._end_run(self.home.pod.spec.termination_grace_period_seconds)
        self._probe(ending)  # Kept there until it is done.

    async def stop(self, grace_s: float) -> None:
        """End it for good: the preStop hook, a signal, and after the grace period (0: at once) SIGKILL."""
        self._is_stopping = True
        if self._task is None:
            return
        if self._run is None:
            self._task.cancel()
        else:
            await self._end_run(grace_s)
        with suppress(asyncio.CancelledError):
            await self._task

    async def _end_run(self, grace_s: float) -> None:
        run = self._run
        if run is None:
            return
        self._over = self._over or asyncio.Event()
        over, end = self._over, time.monotonic() + grace_s
        lifecycle = self.spec.lifecycle
        if grace_s > 0:
            if lifecycle.pre_stop:
                await self._pre_stop(lifecycle.pre_stop, over, grace_s)
                end = max(end, time.monotonic() + LEAST_GRACE_S)
            left = end - time.monotonic()
            run.stop(Signals.__members__.get(lifecycle.stop_signal or "", SIGTERM), left)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), left)
        run.kill()
        await over.wait()

    async def _pre_stop(self, hook: Hook, over: asyncio.Event, grace_s: float) -> None:
        """Run the hook, for as long as the grace period allows and the run goes on."""
        asking = asyncio.ensure_future(answer(self.home, self.spec, self._what, hook))
        ending = asyncio.ensure_future(over.wait())
        await asyncio.wait((asking, ending), timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        ending.cancel()

    def set_ready(self, ready: bool) -> None:
        """Switch the answer of its stand-in; nothing if it has none."""
        if isinstance(self._run, Standing):
            self._run.set_ready(ready)

    def kill(self) -> None:
        """End it at once, without waiting."""
        self._is_stopping = True
        if self._run:
            self._run.kill()
