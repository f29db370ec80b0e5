"""Status of Deployments: counts of pods, and the conditions Available and Progressing.

Progressing is that of kubernetes/pkg/controller/deployment/progress.go: each step of an update renews it, a complete
update ends it, and an update without a step for progressDeadlineSeconds fails it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.kubernetes.models.apps import Deployment
from testbed.kubernetes.state import ClusterState, Resource
from testbed.kubernetes.times import Condition, condition, seconds_of, timestamp, with_times
from testbed.kubernetes.workloads.deployment import new_replica_set, replica_sets
from testbed.kubernetes.workloads.pods import available_at
from testbed.kubernetes.workloads.proportional import surge

COMPLETE = "NewReplicaSetAvailable"
LATE = "ProgressDeadlineExceeded"
NO_DEADLINE = 2**31 - 1

Status = Mapping[str, Any]


def status(state: ClusterState, deployment: Resource) -> dict[str, Any]:
    """The status of a Deployment."""
    assert isinstance(deployment.typed, Deployment)
    spec = deployment.typed.spec
    new = new_replica_set(state, deployment)
    pods = [pod for own in replica_sets(state, deployment) for pod in state.pods_of(own) if pod.is_active]
    updated = [pod for pod in state.pods_of(new) if pod.is_active] if new else []
    available = sum(pod.is_available(state.now, spec.min_ready_seconds) for pod in pods)
    counts: dict[str, Any] = {
        "observedGeneration": deployment.metadata.generation,
        "replicas": len(pods),
        "updatedReplicas": len(updated),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": available,
        "unavailableReplicas": max(0, spec.replicas - available),
    }
    before: Sequence[Condition] = deployment.status.get("conditions", ())
    conditions = [_availability(available >= spec.replicas - surge(spec)[1])]
    if spec.progress_deadline_seconds < NO_DEADLINE and new is not None:
        conditions.append(_progress(state.now, deployment, counts, new.name))
    timed = with_times(before, conditions, state.now)
    return {**counts, "conditions": [_updated(before, one, state.now) for one in timed]}


def due(state: ClusterState, deployment: Resource) -> float:
    """When time alone changes something: a pod becomes available, or an update is late."""
    assert isinstance(deployment.typed, Deployment)
    pods = (pod for own in replica_sets(state, deployment) for pod in state.pods_of(own))
    becomes_available = available_at(pods, state.now, deployment.typed.spec.min_ready_seconds)
    progress = condition(deployment.status.get("conditions", ()), "Progressing")
    return min(becomes_available, _deadline(deployment, progress))


def _availability(is_available: bool) -> Condition:
    if is_available:
        message = "Deployment has minimum availability."
        return {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": message}
    message = "Deployment does not have minimum availability."
    return {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": message}


def _progress(now: float, deployment: Resource, counts: Status, new: str) -> Condition:
    """The condition Progressing; it has `lastUpdateTime` if the update went on."""
    assert isinstance(deployment.typed, Deployment)
    before, wanted = deployment.status, deployment.typed.spec.replicas
    current = condition(before.get("conditions", ()), "Progressing")
    name = f'ReplicaSet "{new}"'
    if deployment.typed.spec.paused:
        return _made("Unknown", "DeploymentPaused", "Deployment is paused")
    if current is None or current["reason"] == "DeploymentPaused" or f'"{new}"' not in current["message"]:
        return _made("True", "NewReplicaSetCreated", f'Created new replica set "{new}"', now)
    if counts["replicas"] == counts["updatedReplicas"] and current["reason"] == COMPLETE:
        return current
    if counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == wanted:
        return _made("True", COMPLETE, f"{name} has successfully progressed.", now)
    if _has_advanced(before, counts):
        return _made("True", "ReplicaSetUpdated", f"{name} is progressing.", now)
    if now >= _deadline(deployment, current):
        return _made("False", LATE, f"{name} has timed out progressing.")
    return current


def _has_advanced(before: Status, after: Status) -> bool:
    def old(counts: Status) -> int:
        return int(counts.get("replicas", 0)) - int(counts.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old(after) < old(before) or any(after[key] > before.get(key, 0) for key in grown)


def _deadline(deployment: Resource, progress: Condition | None) -> float:
    """When an update that does not go on is late; infinite if none is under way."""
    assert isinstance(deployment.typed, Deployment)
    if progress is None or progress["status"] != "True" or progress["reason"] == COMPLETE:
        return math.inf
    return seconds_of(progress["lastUpdateTime"]) + deployment.typed.spec.progress_deadline_seconds


def _made(status: str, reason: str, message: str, now: float | None = None) -> Condition:
    made = {"type": "Progressing", "status": status, "reason": reason, "message": message}
    return made if now is None else {**made, "lastUpdateTime": timestamp(now)}


def _updated(before: Sequence[Condition], one: Condition, now: float) -> Condition:
    """The condition with the time of its last update, which changes with its reason."""
    old = condition(before, one["type"])
    if "lastUpdateTime" in one:
        return one
    is_same = old is not None and old["status"] == one["status"] and old["reason"] == one["reason"]
    return {**one, "lastUpdateTime": old["lastUpdateTime"] if old is not None and is_same else timestamp(now)}
