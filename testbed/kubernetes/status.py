"""Status of objects, as their controllers would write it: counts of pods, conditions. Computed when it is asked for."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.kubernetes.models.apps import DaemonSet, Deployment, StatefulSet
from testbed.kubernetes.models.batch import Job
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.scheduling.fixed import fits_node
from testbed.kubernetes.scheduling.placing import GATED
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.kubernetes.workloads import daemonset, deployment, job, statefulset
from testbed.kubernetes.workloads.pods import hash_of


def status_of(state: ClusterState, one: Resource) -> dict[str, Any]:
    """The status of an object."""
    if isinstance(one, Pod):
        return _pod(one)
    own = _STATUS.get(one.kind.name)
    return own(state, one) if own else dict(one.status)


def _pod(pod: Pod) -> dict[str, Any]:
    gates = [{"type": gate.condition_type, "status": "False"} for gate in pod.spec.readiness_gates]
    ready = "True" if pod.is_ready else "False"
    conditions: list[dict[str, Any]] = [{"type": "PodScheduled", "status": "True"}] if pod.node else []
    if pod.reason:
        reason = "SchedulingGated" if pod.reason == GATED else "Unschedulable"
        conditions = [{"type": "PodScheduled", "status": "False", "reason": reason, "message": pod.reason}]
    if pod.phase == "Running":
        conditions += [{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": ready}]
    return {**pod.status, "phase": pod.phase, "conditions": [*conditions, *gates]}


def _deployment(state: ClusterState, one: Resource) -> dict[str, Any]:
    assert isinstance(one.typed, Deployment)
    sets = deployment.replica_sets(state, one)
    pods = [pod for own in sets for pod in state.pods_of(own) if pod.is_active]
    own_hash = hash_of(one)
    new = [pod for pod in pods if pod.labels.get(deployment.HASH) == own_hash]
    available = _available(state, pods, one.typed.spec.min_ready_seconds)
    wanted = one.typed.spec.replicas
    _, may_lack = deployment.surge(one.typed.spec)
    is_available = available >= wanted - may_lack
    return {
        "observedGeneration": one.metadata.generation,
        "replicas": len(pods),
        "updatedReplicas": len(new),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
        "conditions": [
            {
                "type": "Available",
                "status": "True" if is_available else "False",
                "reason": "MinimumReplicasAvailable" if is_available else "MinimumReplicasUnavailable",
            }
        ],
    }


def _replica_set(state: ClusterState, one: Resource) -> dict[str, Any]:
    pods = [pod for pod in state.pods_of(one) if pod.is_active]
    return {
        "observedGeneration": one.metadata.generation,
        "replicas": len(pods),
        "fullyLabeledReplicas": len(pods),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": _available(state, pods, one.typed.spec.min_ready_seconds),  # type: ignore[attr-defined]
    }


def _stateful_set(state: ClusterState, one: Resource) -> dict[str, Any]:
    assert isinstance(one.typed, StatefulSet)
    pods = [pod for pod in state.pods_of(one) if pod.is_active]
    revision = f"{one.name}-{hash_of(one)}"
    return {
        "observedGeneration": one.metadata.generation,
        "replicas": len(pods),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": _available(state, pods, one.typed.spec.min_ready_seconds),
        "updatedReplicas": sum(pod.labels.get(statefulset.REVISION) == revision for pod in pods),
        "updateRevision": revision,
    }


def _daemon_set(state: ClusterState, one: Resource) -> dict[str, Any]:
    assert isinstance(one.typed, DaemonSet)
    base = daemonset.with_tolerations(one.typed.spec.template.spec)
    pods = [pod for pod in state.pods_of(one) if pod.is_active]
    wanted = sum(fits_node(base, node) for node in state.of("Node").values())
    available = _available(state, pods, one.typed.spec.min_ready_seconds)
    revision = hash_of(one)
    return {
        "observedGeneration": one.metadata.generation,
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": len({pod.node for pod in pods if pod.node}),
        "numberReady": sum(pod.is_ready for pod in pods),
        "numberAvailable": available,
        "numberUnavailable": max(0, wanted - available),
        "updatedNumberScheduled": sum(pod.labels.get(daemonset.REVISION) == revision for pod in pods),
        "numberMisscheduled": 0,
    }


def _job(state: ClusterState, one: Resource) -> dict[str, Any]:
    assert isinstance(one.typed, Job)
    pods = state.pods_of(one)
    active = [pod for pod in pods if pod.is_active]
    return {
        "active": len(active),
        "ready": sum(pod.is_ready for pod in active),
        "succeeded": job.succeeded(state, one),
        "failed": sum(pod.phase == "Failed" for pod in pods),
    }


def _node(state: ClusterState, one: Resource) -> dict[str, Any]:
    assert isinstance(one.typed, Node)
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {**one.status, "conditions": one.status.get("conditions", [ready])}


def _namespace(state: ClusterState, one: Resource) -> dict[str, Any]:
    return {"phase": "Terminating" if one.is_terminating else "Active"}


def _available(state: ClusterState, pods: list[Pod], min_ready_seconds: int) -> int:
    return sum(pod.is_available(state.now, min_ready_seconds) for pod in pods)


_STATUS: Mapping[str, Callable[[ClusterState, Resource], dict[str, Any]]] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Node": _node,
    "Namespace": _namespace,
}
