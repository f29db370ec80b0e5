"""Filters that depend on a pod's spec and a node alone: its name, labels, taints, and whether it takes new pods."""

from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.models.scheduling import Taint
from testbed.kubernetes.state import Resource

UNSCHEDULABLE = "node(s) were unschedulable"
NO_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
_CORDONED = Taint.model_construct(key="node.kubernetes.io/unschedulable", value="", effect="NoSchedule")


def fits_node(spec: PodSpec, node: Resource) -> bool:
    """Whether a pod of a DaemonSet belongs on a node."""
    return not refusal(spec, node)


def may_stay(spec: PodSpec, node: Resource) -> bool:
    """Whether a pod of a DaemonSet that runs on a node stays there: a taint NoSchedule does not end it."""
    assert isinstance(node.typed, Node)
    taints = (taint for taint in node.typed.spec.taints if taint.effect == "NoExecute")
    return matches(spec, node) and all(tolerated(spec, taint) for taint in taints)


def refusal(spec: PodSpec, node: Resource) -> str:
    """Why a pod cannot run on a node, as the scheduler words it; empty if it can."""
    assert isinstance(node.typed, Node)
    if node.typed.spec.unschedulable and not tolerated(spec, _CORDONED):
        return UNSCHEDULABLE
    for taint in node.typed.spec.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(spec, taint):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    return "" if matches(spec, node) else NO_AFFINITY


def matches(spec: PodSpec, node: Resource) -> bool:
    """Whether a node has the labels and the name that a pod requires."""
    labels = node.labels
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    affinity = spec.affinity.node_affinity
    required = affinity.required if affinity else None
    return required is None or required.matches(node.name, labels)


def tolerated(spec: PodSpec, taint: Taint) -> bool:
    """Whether a pod tolerates a taint."""
    return any(toleration.tolerates(taint) for toleration in spec.tolerations)
