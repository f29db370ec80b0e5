"""Pods that cannot stay on their node: it is gone, or has a NoExecute taint that they do not tolerate for ever."""

import math
from collections.abc import Iterator
from typing import Any

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.scheduling import Taint
from testbed.kubernetes.nodes import NODE, NOT_READY, UNREACHABLE
from testbed.kubernetes.state import ClusterState, Pod, Resource, edit

DEFAULT_SECONDS = 300
"""How long a pod that does not say otherwise stays on a node that is not ready or unreachable."""


def without_evicted(state: ClusterState) -> ClusterState:
    """The state with pods on tainted nodes terminating, and without the pods of nodes that are gone.

    Pods that name their node themselves wait for it.
    """
    nodes = state.of(NODE)
    names = {name for what, name in state.groups if what == "node" and name}
    lost = [pod for name in names if ("", name) not in nodes for pod in state.pods_on(name) if not pod.spec.node_name]
    evicted = [pod for node, pod in _at_risk(state) if state.now >= _leaves_at(node, pod)]
    return state.edited([edit(gone=lost), ended(evicted, state.now)]) if lost or evicted else state


def due(state: ClusterState) -> float:
    """The next time at which a pod must leave its node; infinite if there is none."""
    return min((_leaves_at(node, pod) for node, pod in _at_risk(state)), default=math.inf)


def _at_risk(state: ClusterState) -> Iterator[tuple[Resource, Pod]]:
    """Pods on nodes with NoExecute taints."""
    for (_, name), node in state.of(NODE).items():
        if node.metadata.taint_times:
            yield from ((node, pod) for pod in state.pods_on(name) if pod.is_active)


def _leaves_at(node: Resource, pod: Pod) -> float:
    """When a pod must leave its node because of its taints; infinite if it tolerates them all for ever."""
    assert isinstance(node.typed, Node)
    taints = (taint for taint in node.typed.spec.taints if taint.effect == "NoExecute")
    return min((_since(node, pod, taint) + _tolerated_for(pod, taint) for taint in taints), default=math.inf)


def _since(node: Resource, pod: Pod, taint: Taint) -> float:
    return max(node.metadata.taint_times.get(taint.key, 0.0), pod.scheduled_at or 0.0)


def added_tolerations(pod: Pod) -> list[dict[str, Any]]:
    """Tolerations that a pod gets from the API server: of nodes that are not ready or unreachable, for 300 s."""
    taints = (Taint.model_construct(key=key, value="", effect="NoExecute") for key in (NOT_READY, UNREACHABLE))
    missing = (taint.key for taint in taints if not any(one.tolerates(taint) for one in pod.spec.tolerations))
    rest = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEFAULT_SECONDS}
    return [{"key": key, **rest} for key in missing]


def _tolerated_for(pod: Pod, taint: Taint) -> float:
    """Seconds for which a pod tolerates a taint."""
    toleration = next((one for one in pod.spec.tolerations if one.tolerates(taint)), None)
    if toleration is None:
        return DEFAULT_SECONDS if taint.key in (NOT_READY, UNREACHABLE) else 0
    return math.inf if toleration.toleration_seconds is None else max(0, toleration.toleration_seconds)
