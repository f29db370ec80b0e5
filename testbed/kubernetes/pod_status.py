"""Status of pods: what the kubelet reports, and what the API and kubectl make of it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.models.pods import Container
from testbed.kubernetes.models.values import quantity
from testbed.kubernetes.refused import Refused, found
from testbed.kubernetes.scheduling.placing import GATED
from testbed.kubernetes.state import POD, ClusterState, Key, Pod
from testbed.kubernetes.times import Condition, timestamp
from testbed.spec.nearest import nearest

SIGNALS = 128
"""An exit code above it is that of a process ended by a signal."""


def followed(
    pod: Pod,
    now: float,
    *,
    phase: str,
    is_ready: bool,
    containers: tuple[ContainerStatus, ...] = (),
    failure: str = "",
    message: str = "",
    ips: tuple[str, ...] = (),
    host_ips: tuple[str, ...] = (),
) -> Pod:
    """The pod with what its kubelet reports; itself if that changes nothing.

    `is_ready` is the containers' readiness: the pod is ready only if its readiness gates are True as well.
    """
    is_ready = is_ready and all(gate.condition_type in pod.gates for gate in pod.spec.readiness_gates)
    ready_since = (pod.ready_since if pod.ready_since is not None else now) if is_ready else None
    fields: dict[str, Any] = {
        "phase": phase,
        "containers": containers,
        "failure": failure,
        "message": message,
        "ips": ips,
        "host_ips": host_ips,
        "ready_since": ready_since,
        "started_at": pod.started_at if pod.started_at is not None else now,
    }
    return pod if all(getattr(pod, key) == value for key, value in fields.items()) else replace(pod, **fields)


def with_gate(state: ClusterState, key: Key, gate: str, *, is_true: bool) -> ClusterState:
    """Set a readiness gate of a pod; the pod is ready once all of its gates are True and its containers are ready."""
    pod = found(state, POD, key)
    assert isinstance(pod, Pod)
    known = [one.condition_type for one in pod.spec.readiness_gates]
    if gate not in known:
        raise Refused("Invalid", f"pod '{pod.name}' has no readiness gate '{gate}'", nearest(gate, tuple(known)))
    gates = pod.gates | {gate} if is_true else pod.gates - {gate}
    if gates == pod.gates:
        return state
    is_ready = all(one in gates for one in known) and _are_ready(pod)
    return state.changed([replace(pod, gates=gates, ready_since=state.now if is_ready else None)])


def _are_ready(pod: Pod) -> bool:
    """Whether all containers of a pod are ready."""
    own = [one for one in pod.containers if not one.is_init]
    return all(one.ready for one in own) if own else pod.phase == "Running"


def containers_of(pod: Pod) -> tuple[ContainerStatus, ...]:
    """Status of each container; as its phase implies if the kubelet did not report any."""
    if pod.containers or not pod.node:
        return pod.containers
    return tuple(_implied(pod, one, is_init) for one, is_init in _written(pod))


def _written(pod: Pod) -> Iterator[tuple[Container, bool]]:
    yield from ((one, True) for one in pod.spec.init_containers)
    yield from ((one, False) for one in pod.spec.containers)


def _implied(pod: Pod, container: Container, is_init: bool) -> ContainerStatus:
    base = ContainerStatus(name=container.name, image=container.image or "", is_init=is_init)
    is_done = is_init and container.restart_policy != "Always"
    if pod.phase == "Pending":
        is_waiting = pod.spec.init_containers and not is_init
        return replace(base, reason="PodInitializing" if is_waiting else "ContainerCreating")
    if pod.phase == "Running" and not is_done:
        return replace(base, state="running", started_at=pod.started_at, ready=pod.is_ready, started=True)
    has_failed = pod.phase == "Failed" and not is_done
    reason, code = ("Error", 1) if has_failed else ("Completed", 0)
    return replace(base, state="terminated", reason=reason, exit_code=code, ready=is_done, started_at=pod.started_at)


def pod_status(pod: Pod) -> dict[str, Any]:
    """The status as the API shows it."""
    containers = containers_of(pod)
    status: dict[str, Any] = {
        **pod.status,
        "phase": pod.phase,
        "reason": pod.failure,
        "message": pod.message,
        "conditions": list(_conditions(pod, containers)),
        "qosClass": qos_class(pod),
        "nominatedNodeName": pod.nominated,
        "podIP": pod.ips[0] if pod.ips else "",
        "podIPs": [{"ip": one} for one in pod.ips],
        "hostIP": pod.host_ips[0] if pod.host_ips else "",
        "hostIPs": [{"ip": one} for one in pod.host_ips],
        "startTime": _time(pod.started_at),
        "initContainerStatuses": [_container(one) for one in containers if one.is_init],
        "containerStatuses": [_container(one) for one in containers if not one.is_init],
    }
    return {key: value for key, value in status.items() if value not in ("", [], None)}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)


def _conditions(pod: Pod, containers: tuple[ContainerStatus, ...]) -> Iterator[Condition]:
    created = pod.metadata.created
    if not pod.node:
        if pod.reason:
            reason = "SchedulingGated" if pod.reason == GATED else "Unschedulable"
            yield _condition("PodScheduled", False, created, reason, pod.reason)
        return
    scheduled = pod.scheduled_at if pod.scheduled_at is not None else created
    started = pod.started_at if pod.started_at is not None else scheduled
    has_network = pod.started_at is not None and not pod.is_finished
    yield _condition("PodReadyToStartContainers", has_network, started)
    init = [one for one in containers if one.is_init]
    waiting = [one.name for one in init if not (one.has_succeeded or one.started)]
    if waiting:
        yield _condition("Initialized", False, started, "ContainersNotInitialized", _incomplete(waiting))
    else:
        done = max((one.finished_at for one in init if one.finished_at is not None), default=started)
        yield _condition("Initialized", True, done, "PodCompleted" if pod.phase == "Succeeded" else "")
    yield from _readiness(pod, containers, started)
    yield _condition("PodScheduled", True, scheduled)
    for gate in pod.spec.readiness_gates:
        if gate.condition_type in pod.gates:
            yield _condition(gate.condition_type, True, started)


def _readiness(pod: Pod, containers: tuple[ContainerStatus, ...], started: float) -> Iterator[Condition]:
    since = pod.ready_since if pod.ready_since is not None else pod.unready_since or started
    names = [one.name for one in containers if not one.is_init and not one.ready]
    reason = "PodCompleted" if pod.phase == "Succeeded" else "PodFailed" if pod.phase == "Failed" else ""
    unready = (
        reason or "ContainersNotReady",
        f"containers with unready status: [{' '.join(names)}]" if not reason else "",
    )
    missing = [gate.condition_type for gate in pod.spec.readiness_gates if gate.condition_type not in pod.gates]
    if pod.is_ready:
        yield _condition("Ready", True, since)
    elif missing and not names:
        yield _condition(
            "Ready",
            False,
            since,
            "ReadinessGatesNotReady",
            f"corresponding condition of pod readiness gate {' '.join(map(repr, missing))} does not exist.".replace(
                "'", '"'
            ),
        )
    else:
        yield _condition("Ready", False, since, *unready)
    yield _condition("ContainersReady", not names, since, *(unready if names else ()))


def _incomplete(names: Iterable[str]) -> str:
    return f"containers with incomplete status: [{' '.join(names)}]"


def _condition(kind: str, is_true: bool, since: float, reason: str = "", message: str = "") -> Condition:
    made = {"type": kind, "status": "True" if is_true else "False", "lastTransitionTime": timestamp(since)}
    return made | {key: text for key, text in (("reason", reason), ("message", message)) if text}


def _container(one: ContainerStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "image": one.image,
        "imageID": "",
        "ready": one.ready,
        "started": one.started,
        "restartCount": one.restart_count,
        "state": _state(one),
        "lastState": _state(one.last) if one.last else {},
    }


def _state(one: ContainerStatus) -> dict[str, Any]:
    fields: dict[str, Any] = {"reason": one.reason, "message": one.message}
    if one.state != "waiting":
        fields["startedAt"] = _time(one.started_at)
    if one.state == "terminated":
        fields |= {"finishedAt": _time(one.finished_at), "exitCode": one.exit_code}
    return {one.state: {key: value for key, value in fields.items() if value not in ("", None)}}


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort, from what the containers request."""
    every = [container.resources for _, container in pod.spec.all_containers]
    asked = [
        (quantity(one.requests.get(name, one.limits.get(name, 0))), quantity(one.limits.get(name, 0)))
        for one in every
        for name in ("cpu", "memory")
    ]
    if not any(request or limit for request, limit in asked):
        return "BestEffort"
    return "Guaranteed" if all(limit and request == limit for request, limit in asked) else "Burstable"


def summary(pod: Pod) -> str:
    """The column STATUS, as kubectl computes it (pkg/printers/internalversion/printers.go, printPod)."""
    if pod.is_terminating:
        return "Unknown" if pod.failure == "NodeLost" else "Terminating"
    if pod.reason == GATED:
        return "SchedulingGated"
    containers = containers_of(pod)
    if pending := _initializing(pod, [one for one in containers if one.is_init]):
        return pending
    shown, has_running = pod.failure or pod.phase, False
    for one in reversed([one for one in containers if not one.is_init]):
        if one.state == "waiting" and one.reason:
            shown = one.reason
        elif one.state == "terminated":
            shown = _ending(one)
        elif one.ready:
            has_running = True
    if shown == "Completed" and has_running:
        return "Running" if pod.is_ready else "NotReady"
    return shown


def _initializing(pod: Pod, containers: list[ContainerStatus]) -> str:
    """`Init:...` for a pod whose init containers are not done; empty if they are."""
    sidecars = {one.name for one in pod.spec.init_containers if one.restart_policy == "Always"}
    for number, one in enumerate(containers):
        if one.has_succeeded or (one.name in sidecars and one.started):
            continue
        if one.state == "terminated":
            return f"Init:{_ending(one)}"
        if one.state == "waiting" and one.reason not in ("", "PodInitializing", "ContainerCreating"):
            return f"Init:{one.reason}"
        return f"Init:{number}/{len(containers)}"
    return ""


def _ending(one: ContainerStatus) -> str:
    if one.reason:
        return one.reason
    code = one.exit_code or 0
    return f"Signal:{code - SIGNALS}" if code > SIGNALS else f"ExitCode:{code}"


def readiness(pod: Pod) -> str:
    """The column READY: containers (and sidecars) that are ready, of how many."""
    sidecars = {one.name for one in pod.spec.init_containers if one.restart_policy == "Always"}
    total = len(pod.spec.containers) + len(sidecars)
    counted = (one for one in containers_of(pod) if not one.is_init or one.name in sidecars)
    return f"{sum(one.ready and one.state == 'running' for one in counted)}/{total}"


def restarts(pod: Pod) -> tuple[int, float | None]:
    """Number of restarts of its containers, and when the last one that ended before a restart did so."""
    sidecars = {one.name for one in pod.spec.init_containers if one.restart_policy == "Always"}
    containers = containers_of(pod)
    is_initializing = bool(_initializing(pod, [one for one in containers if one.is_init]))
    counted = [one for one in containers if one.is_init == is_initializing or one.name in sidecars]
    times = [one.last.finished_at for one in counted if one.last is not None and one.last.finished_at is not None]
    return sum(one.restart_count for one in counted), max(times, default=None)
