"""The life of a pod: init containers in order, then all others, until they have ended or the pod is deleted."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from testbed.kubernetes.images import runs
from testbed.kubernetes.models.pods import Container
from testbed.kubernetes.state import Pod
from testbed.lab.kubelet.container import LEAST_GRACE_S, ContainerLife
from testbed.lab.kubelet.home import Home
from testbed.lab.kubelet.status import INITIALIZING, PodStatus, phase_of

DEADLINE = "Pod was active on the node longer than the specified deadline"


class PodLife:
    """A pod with its containers. Used in the kubelet's loop."""

    __slots__ = (
        *("home", "inits", "containers"),
        *("_host_images", "_task", "_ending", "_has_ended", "_failed", "_news", "_deadline", "_publish"),
    )

    def __init__(self, home: Home, host_images: bool) -> None:
        self.home = home
        self._publish, home.changed = home.changed, self._notice
        self._host_images = host_images
        spec = home.pod.spec
        self.inits = tuple(self._life(one, init=True) for one in spec.init_containers)
        self.containers = tuple(self._life(one) for one in spec.containers)
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._has_ended = False
        self._failed: tuple[str, str] | None = None
        """Reason and message of a pod that failed as a whole."""
        self._news: asyncio.Event | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def _life(self, container: Container, init: bool = False) -> ContainerLife:
        policy = container.restart_policy or self.home.pod.spec.restart_policy
        if init and policy == "Always" and not container.restart_policy:
            policy = "OnFailure"
        life = ContainerLife(self.home, container, runs(container, self._host_images), policy, init)
        if not init and self.home.pod.spec.init_containers:
            life.status = replace(life.status, reason=INITIALIZING)
        return life

    def __iter__(self) -> Iterator[ContainerLife]:
        return iter((*self.inits, *self.containers))

    @property
    def _sidecars(self) -> tuple[ContainerLife, ...]:
        return tuple(one for one in self.inits if one.is_sidecar)

    def begin(self) -> None:
        """Start the containers."""
        loop = asyncio.get_running_loop()
        if seconds := self.home.pod.spec.active_deadline_seconds:
            self._deadline = loop.call_later(seconds, self.fail, "DeadlineExceeded", DEADLINE)
        if self.inits:
            self._task = loop.create_task(self._initialize())
            self._task.add_done_callback(self._check)
        else:
            self._begin_containers()

    def _begin_containers(self) -> None:
        for one in self.containers:
            one.begin().add_done_callback(self._check)

    async def _initialize(self) -> None:
        """Run the init containers, then begin all others; when they have ended, end the sidecars."""
        for one in self.inits:
            task = one.begin()
            task.add_done_callback(self._check)
            if one.is_sidecar:
                await self._until(partial(_has_started, one))
                continue
            await asyncio.wait((task,))
            if one.has_failed:
                return
        self._begin_containers()
        if self._sidecars:
            await self._until(lambda: all(one.is_over for one in self.containers))
            await self._end_sidecars(self.home.pod.spec.termination_grace_period_seconds)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition of the containers holds."""
        self._news = self._news or asyncio.Event()
        while not holds():
            self._news.clear()
            await self._news.wait()

    def _check(self, task: "asyncio.Task[None]") -> None:
        """Note the end of a task. An error in it fails the pod, so that it is seen."""
        if not task.cancelled() and (error := task.exception()):
            self.fail("KubeletError", f"{type(error).__name__}: {error}")
        self._notice()

    def _notice(self) -> None:
        """Note that the status of a container has changed."""
        if self._news:
            self._news.set()
        self._publish()

    def fail(self, reason: str, message: str) -> None:
        """Fail the pod as a whole, and end its containers."""
        self._failed = reason, message
        self.end(self.home.pod.spec.termination_grace_period_seconds)
        self.home.changed()

    def update(self, pod: Pod) -> None:
        """Follow a change of the pod: its deletion, its end from outside (an eviction), other images."""
        old, self.home.pod = self.home.pod, pod
        if pod.phase == "Failed" and pod.failure and not self._failed:
            self._failed = pod.failure, pod.message
        deletion, before = ((one.metadata.deleted, one.metadata.grace) for one in (pod, old))
        if (pod.is_terminating and deletion != before) or self._failed:
            self.end(_grace_of(pod))
        elif pod.typed is not old.typed:
            specs = {one.name: one for _, one in pod.spec.all_containers}
            for life in self:
                if (spec := specs.get(life.spec.name)) and spec != life.spec:
                    life.replace(spec, runs(spec, self._host_images))
        if pod.gates != old.gates:
            self.home.changed()

    def set_ready(self, container: str, ready: bool) -> None:
        """Switch the answer of a container's stand-in, or of all."""
        for one in self:
            if container in ("", one.spec.name):
                one.set_ready(ready)

    def end(self, grace_s: float) -> None:
        """Begin to end all containers within a grace period; a later call can only shorten it."""
        if self._ending is None:
            if self._deadline:
                self._deadline.cancel()
            if self._task:
                self._task.cancel()
            self._ending = asyncio.get_running_loop().create_task(self._end(grace_s))
        else:
            asyncio.get_running_loop().call_later(grace_s, self.kill)

    async def _end(self, grace_s: float) -> None:
        begun = time.monotonic()
        others = (one for one in self if not one.is_sidecar)
        await asyncio.gather(*(one.stop(grace_s) for one in others))
        left = grace_s - (time.monotonic() - begun)
        await self._end_sidecars(max(left, LEAST_GRACE_S) if grace_s else 0.0)
        self._has_ended = True
        self.home.changed()

    async def _end_sidecars(self, grace_s: float) -> None:
        end = time.monotonic() + grace_s
        for one in reversed(self._sidecars):
            await one.stop(max(0.0, end - time.monotonic()))

    def kill(self) -> None:
        """End all containers at once, without waiting."""
        for one in self:
            one.kill()

    def status(self) -> PodStatus:
        """The current status."""
        pod = self.home.pod
        inits, containers = (tuple(one.status for one in lives) for lives in (self.inits, self.containers))
        must_complete = [one.status for one in self.inits if not one.is_sidecar]
        phase = phase_of(containers, must_complete, pod.spec.restart_policy)
        serving = (*containers, *(one.status for one in self._sidecars))
        gates = (gate.condition_type in pod.gates for gate in pod.spec.readiness_gates)
        reason, message = self._failed or ("", "")
        return PodStatus(
            phase="Failed" if self._failed else phase,
            reason=reason,
            message=message,
            ready=phase == "Running" and not self._failed and all(one.ready for one in serving) and all(gates),
            ended=self._has_ended,
            containers=(*inits, *containers),
        )


def _grace_of(pod: Pod) -> float:
    """Seconds in which a pod must end, from now on."""
    deleted, grace = pod.metadata.deleted, pod.metadata.grace
    if deleted is None or grace is None:
        return pod.spec.termination_grace_period_seconds
    return max(0.0, deleted + grace - time.time())


def _has_started(one: ContainerLife) -> bool:
    return one.status.started
