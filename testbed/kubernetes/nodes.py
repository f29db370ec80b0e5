"""Whether nodes are ready, and the taints that follow from that, as the node lifecycle controller sets them.

A node whose kubelet reports a failure is not ready (`False`); one whose kubelet does not answer is `Unknown`, and
unreachable: pods that are deleted there stay Terminating, since nothing can confirm their end.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from testbed.kubernetes.editing import with_spec
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.refused import found
from testbed.kubernetes.state import ClusterState, Resource
from testbed.kubernetes.times import condition, timestamp, with_times

NODE = BY_NAME["Node"]
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_BOTH = ("NoSchedule", "NoExecute")
_READY = {
    True: ("True", "KubeletReady", "kubelet is posting ready status"),
    False: ("False", "KubeletNotReady", "container runtime network not ready"),
    None: ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."),
}


def with_node_ready(state: ClusterState, node: str, ready: bool | None) -> ClusterState:
    """The state with a node that is ready, is not, or cannot be reached (None); then its pods are not ready either.

    Raises Refused if there is no such node.
    """
    one = found(state, NODE, ("", node))
    status, reason, message = _READY[ready]
    if status == _ready(one):
        return state
    conditions = one.status.get("conditions", ())
    others = [other for other in conditions if other["type"] != "Ready"]
    made = {"type": "Ready", "status": status, "reason": reason, "message": message}
    made["lastHeartbeatTime"] = timestamp(state.now)
    new = replace(one, status={**one.status, "conditions": [*others, *with_times(conditions, [made], state.now)]})
    pods = [] if ready else [replace(pod, ready_since=None) for pod in state.pods_on(node) if pod.is_ready]
    return tainted(state.changed([new, *pods]))


def is_unreachable(state: ClusterState, node: str) -> bool:
    """Whether the kubelet of a node does not answer."""
    one = state.of(NODE).get(("", node))
    return one is not None and _ready(one) == "Unknown"


def is_ready(one: Resource) -> bool:
    """Whether a Node is ready; one without this condition is."""
    return _ready(one) == "True"


def _ready(one: Resource) -> str:
    ready = condition(one.status.get("conditions", ()), "Ready")
    return str(ready["status"]) if ready else "True"


def tainted(state: ClusterState) -> ClusterState:
    """The state with the taints that follow from each node's condition, and without those that do not any more."""
    nodes = state.of(NODE)
    if state.memo.get("tainted nodes") is nodes:
        return state
    state = state.changed(new for one in nodes.values() if (new := _tainted(one)) is not one)
    state.memo["tainted nodes"] = state.of(NODE)
    return state


def _tainted(one: Resource) -> Resource:
    assert isinstance(one.typed, Node)
    wanted = list(_taints(one))
    raw: list[dict[str, Any]] = one.body.get("spec", {}).get("taints", [])
    own = [taint for taint in raw if taint["key"] in (UNSCHEDULABLE, NOT_READY, UNREACHABLE)]
    if own == wanted:
        return one
    return with_spec(one, taints=[*(taint for taint in raw if taint not in own), *wanted])


def _taints(one: Resource) -> Iterator[dict[str, Any]]:
    assert isinstance(one.typed, Node)
    if one.typed.spec.unschedulable:
        yield {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(_ready(one))
    for effect in _BOTH if key else ():
        yield {"key": key, "effect": effect}
