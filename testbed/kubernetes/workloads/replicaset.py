"""ReplicaSets: as many pods as they ask for."""

from collections import Counter
from typing import Any

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.apps import ReplicaSet
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Pod, Resource, edit
from testbed.kubernetes.workloads.pods import PodMaker, available, claims

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def reconcile(state: ClusterState, replica_set: Resource) -> Edit:
    """Add pods, or terminate the least valuable ones."""
    assert isinstance(replica_set.typed, ReplicaSet)
    spec = replica_set.typed.spec
    if (claimed := claims(state, replica_set, spec.selector)) is not NOTHING:
        return claimed
    pods = [pod for pod in state.pods_of(replica_set) if pod.is_active]
    missing = spec.replicas - len(pods)
    if missing > 0:
        maker = PodMaker(state, replica_set, spec.template)
        return edit(maker.make() for _ in range(missing))
    if missing < 0:
        return ended(in_order_of_deletion(state, replica_set, pods)[:-missing], state.now)
    return NOTHING


def status(state: ClusterState, replica_set: Resource) -> dict[str, Any]:
    """The status of a ReplicaSet."""
    assert isinstance(replica_set.typed, ReplicaSet)
    pods = [pod for pod in state.pods_of(replica_set) if pod.is_active]
    labels = replica_set.typed.spec.template.metadata.labels.items()
    return {
        "observedGeneration": replica_set.metadata.generation,
        "replicas": len(pods),
        "fullyLabeledReplicas": sum(labels <= pod.labels.items() for pod in pods),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": available(pods, state.now, replica_set.typed.spec.min_ready_seconds),
    }


def in_order_of_deletion(state: ClusterState, replica_set: Resource, pods: list[Pod]) -> list[Pod]:
    """Pods in the order in which a ReplicaSet gives them up.

    Not scheduled before scheduled, not ready before ready, low deletion cost before high, on a node with more pods of
    the same workload before others, ready for a short time before long, young before old (as
    kubernetes/pkg/controller/controller_utils.go, ActivePodsWithRanks).
    """
    owner = replica_set.metadata.owner
    siblings = [replica_set]
    if owner is not None:
        siblings = [one for one in state.of("ReplicaSet").values() if one.metadata.owner == owner]
    related = (pod for one in siblings for pod in state.pods_of(one) if pod.is_active)
    on_node = Counter(pod.node for pod in related if pod.node)

    def rank(pod: Pod) -> tuple[object, ...]:
        return (
            bool(pod.node),
            pod.phase != "Pending",
            pod.is_ready,
            _cost(pod),
            -on_node[pod.node],
            -(pod.ready_since or 0.0),
            -pod.metadata.created,
            -pod.metadata.resource_version,
        )

    return sorted(pods, key=rank)


def _cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 11 else 0
