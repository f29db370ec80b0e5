"""Status of objects as the API shows it. Times and conditions are kept in `Resource.status`."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.kubernetes.disruption import budget
from testbed.kubernetes.nodes import is_ready
from testbed.kubernetes.pod_status import pod_status
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.kubernetes.times import timestamp
from testbed.kubernetes.workloads import CONTROLLERS


def status_of(state: ClusterState, one: Resource) -> dict[str, Any]:
    """The status of an object."""
    if isinstance(one, Pod):
        return pod_status(one)
    if one.kind.name in CONTROLLERS:
        return CONTROLLERS[one.kind.name].status(state, one)
    own = _STATUS.get(one.kind.name)
    return own(state, one) if own else dict(one.status)


def _node(state: ClusterState, one: Resource) -> dict[str, Any]:
    if one.status.get("conditions") or not is_ready(one):
        return dict(one.status)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastTransitionTime": timestamp(one.metadata.created),
    }
    return {**one.status, "conditions": [ready]}


def _namespace(state: ClusterState, one: Resource) -> dict[str, Any]:
    return {"phase": "Terminating" if one.is_terminating else "Active"}


def _disruption_budget(state: ClusterState, one: Resource) -> dict[str, Any]:
    now = budget(state, one)
    return {
        "currentHealthy": now.healthy,
        "desiredHealthy": now.needed,
        "disruptionsAllowed": now.allowed,
        "expectedPods": now.expected,
        "observedGeneration": one.metadata.generation,
    }


_STATUS: Mapping[str, Callable[[ClusterState, Resource], dict[str, Any]]] = {
    "Node": _node,
    "Namespace": _namespace,
    "PodDisruptionBudget": _disruption_budget,
}
