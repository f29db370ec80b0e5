"""What controllers do, one file a controller: from workloads to pods, one step at a time.

`step` runs every controller and the scheduler once. `settled` repeats this, with pods that become ready at once, until
nothing changes: the end of every update. A living lab calls `step` itself whenever its own pods change, and at the time
that `due` says.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from testbed.kubernetes.deleting import collected
from testbed.kubernetes.nodes import is_ready, is_unreachable, tainted
from testbed.kubernetes.scheduling import schedule
from testbed.kubernetes.services.controller import with_services
from testbed.kubernetes.state import ClusterState, Edit, Pod, Resource
from testbed.kubernetes.workloads import (
    daemonset,
    deployment,
    deployment_status,
    eviction,
    job,
    pods,
    replicaset,
    statefulset,
)


@dataclass(frozen=True, kw_only=True)
class Controller:
    """What a controller does with each object of its kind."""

    reconcile: Callable[[ClusterState, Resource], Edit]
    status: Callable[[ClusterState, Resource], dict[str, Any]]
    inputs: Callable[[ClusterState, Resource], Iterable[object]] = pods.inputs
    """What both depend on besides the object and the time. While these are the same objects, nothing is computed."""
    due: Callable[[ClusterState, Resource], float] = pods.due
    """When time alone changes something; infinite if it never does."""


CONTROLLERS: Mapping[str, Controller] = {
    "Deployment": Controller(
        reconcile=deployment.reconcile,
        status=deployment_status.status,
        inputs=deployment.inputs,
        due=deployment_status.due,
    ),
    "ReplicaSet": Controller(reconcile=replicaset.reconcile, status=replicaset.status),
    "StatefulSet": Controller(reconcile=statefulset.reconcile, status=statefulset.status),
    "DaemonSet": Controller(reconcile=daemonset.reconcile, status=daemonset.status, inputs=daemonset.inputs),
    "Job": Controller(reconcile=job.reconcile, status=job.status, due=job.due),
}
"""By kind, in the order in which they run."""


def step(state: ClusterState) -> ClusterState:
    """The state after each controller and the scheduler ran once; the same if nothing is left to do."""
    state = eviction.without_evicted(tainted(collected(state)))
    for kind, controller in CONTROLLERS.items():
        state = _passed(state, kind, controller, "reconcile", controller.reconcile)
    state = with_services(schedule(state))
    for kind, controller in CONTROLLERS.items():
        state = _passed(state, kind, controller, "status", partial(_with_status, controller))
    return state


def due(state: ClusterState) -> float | None:
    """The next time at which `step` has something to do by time alone; None if there is none."""
    times = [eviction.due(state)]
    for kind, controller in CONTROLLERS.items():
        seen: dict[str, _Seen] = state.memo.get(("reconcile", kind), {})
        for one in state.of(kind).values():
            known = seen.get(one.uid)
            inputs = (one, *controller.inputs(state, one))
            is_known = known is not None and known.holds(inputs, state.now)
            times.append(known.until if known is not None and is_known else controller.due(state, one))
    earliest = min(times)
    return None if earliest == math.inf else earliest


@dataclass(frozen=True, slots=True)
class _Seen:
    """The inputs with which an object needed no change, and the time for which this holds."""

    inputs: tuple[object, ...]
    since: float
    until: float

    def holds(self, inputs: tuple[object, ...], now: float) -> bool:
        return (
            self.since <= now < self.until
            and len(inputs) == len(self.inputs)
            and all(one is other for one, other in zip(inputs, self.inputs, strict=True))
        )


def _passed(
    state: ClusterState,
    kind: str,
    controller: Controller,
    what: str,
    change: Callable[[ClusterState, Resource], Edit],
) -> ClusterState:
    """The state with the changes of all objects of a kind; objects whose inputs are as before are passed over."""
    seen: dict[str, _Seen] = state.memo.get((what, kind), {})
    kept: dict[str, _Seen] = {}
    edits: list[Edit] = []
    for one in state.of(kind).values():
        if one.is_terminating:
            continue
        inputs = (one, *controller.inputs(state, one))
        known = seen.get(one.uid)
        if known is not None and known.holds(inputs, state.now):
            kept[one.uid] = known
            continue
        found = change(state, one)
        if found.put or found.gone:
            edits.append(found)
        else:
            kept[one.uid] = _Seen(inputs, state.now, controller.due(state, one))
    state.memo[what, kind] = kept
    return state.edited(edits)


def _with_status(controller: Controller, state: ClusterState, one: Resource) -> Edit:
    status = controller.status(state, one)
    return Edit() if status == one.status else Edit(put=(replace(one, status=status),))


def steps(state: ClusterState) -> Iterator[ClusterState]:
    """Each state on the way to the end: controllers run, pods become ready, terminating pods end."""
    while True:
        after = step(state)
        if after is not state:
            yield after
        ran = run(after)
        if ran is state:
            retry = min((job.retries_at(ran, one) for one in ran.of("Job").values()), default=math.inf)
            if retry == math.inf:
                return
            ran = ran.at(retry)
        state = ran
        if ran is not after:
            state = ran.at(ran.now + _longest_wait(ran))
            yield state


def settled(state: ClusterState) -> ClusterState:
    """The state at the end of all updates, if every pod that has a node becomes ready."""
    return [state, *steps(state)][-1]


def run(state: ClusterState) -> ClusterState:
    """The state with terminating pods ended, and with every other pod that has a node ready."""
    nodes = state.of("Node")
    ended = [pod for pod in state.pods if pod.is_terminating and not is_unreachable(state, pod.node)]
    started = [
        replace(pod, phase="Running", ready_since=state.now, started_at=state.now, gates=_gates(pod))
        for pod in state.pods
        if pod.node and not pod.is_ready and pod.is_active and ("", pod.node) in nodes and is_ready(nodes["", pod.node])
    ]
    return state.changed(started, ended) if ended or started else state


def _gates(pod: Pod) -> frozenset[str]:
    return frozenset(gate.condition_type for gate in pod.spec.readiness_gates)


def _longest_wait(state: ClusterState) -> int:
    """Seconds after which every ready pod is available."""
    workloads = (one for kind in CONTROLLERS if kind != "Job" for one in state.of(kind).values())
    return max((one.typed.spec.min_ready_seconds for one in workloads), default=0)  # type: ignore[attr-defined]
