"""Changes of single objects: scale, label, annotate, cordon."""

from collections.abc import Callable

import pytest

from testbed.kubernetes.editing import annotate, cordon, label, scale
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import settled
from tests.kubernetes.clusters import applied, cluster, count_by_node, pod, the, workload

DEPLOYMENT, POD = BY_NAME["Deployment"], BY_NAME["Pod"]
WEB = ("default", "web")


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet"])
def test_scaling_changes_the_number_of_pods(kind: str) -> None:
    state = settled(cluster(workload(kind, replicas=2)))
    assert scale(state, BY_NAME[kind], WEB, 2) is state
    state = settled(scale(state, BY_NAME[kind], WEB, 4, current=2))
    assert len(state.pods) == 4
    assert the(state, kind).metadata.generation == 2
    assert len(settled(applied(state, workload(kind, replicas=2))).pods) == 2


REFUSED: list[tuple[Callable[[ClusterState], ClusterState], str]] = [
    (lambda state: scale(state, DEPLOYMENT, WEB, 3, current=1), "Expected replicas to be 1, was 2"),
    (lambda state: scale(state, DEPLOYMENT, WEB, -1), "replicas: must be at least 0, not -1"),
    (
        lambda state: scale(state, DEPLOYMENT, WEB, 10_001),
        "replicas: the workloads would ask for more than 10000 pods in all",
    ),
    (
        lambda state: scale(state, BY_NAME["DaemonSet"], ("default", "agent"), 2),
        "daemonsets.apps cannot be scaled; scale a Deployment, ReplicaSet, StatefulSet",
    ),
    (lambda state: scale(state, DEPLOYMENT, ("default", "wep"), 2), 'deployments.apps "wep" not found'),
    (
        lambda state: label(state, DEPLOYMENT, WEB, {"tier": "back"}, overwrite=False),
        "'tier' already has a value (front), and --overwrite is false",
    ),
    (
        lambda state: label(state, DEPLOYMENT, WEB, {"tier": "-"}),
        "label 'tier': ",
    ),
    (lambda state: annotate(state, DEPLOYMENT, WEB, {"a b": "c"}), "annotation 'a b': "),
    (lambda state: cordon(state, "node9"), 'nodes "node9" not found'),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refusals(change: Callable[[ClusterState], ClusterState], message: str) -> None:
    state = cluster(workload(replicas=2), workload("DaemonSet", "agent"))
    state = label(state, DEPLOYMENT, WEB, {"tier": "front"})
    with pytest.raises(Refused) as refused:
        change(state)
    assert refused.value.message.startswith(message)


def test_labels_and_annotations_are_set_and_removed() -> None:
    state = cluster(pod("web", {"app": "web", "old": "1"}))
    state = label(state, POD, WEB, {"app": "db", "old": None, "new": ""})
    state = annotate(state, POD, WEB, {"note": "a b c"})
    found = the(state, "Pod")
    assert (found.labels, found.metadata.annotations) == ({"app": "db", "new": ""}, {"note": "a b c"})
    assert label(state, POD, WEB, {"app": "db", "absent": None}) is state


def test_a_cordoned_node_gets_no_pods_until_it_is_uncordoned() -> None:
    state = cordon(cluster(workload(replicas=4)), "node1")
    assert count_by_node(settled(state)) == {"node2": 2, "node3": 2}
    state = settled(scale(cordon(settled(state), "node1", unschedulable=False), DEPLOYMENT, WEB, 6))
    assert count_by_node(state) == {"node1": 2, "node2": 2, "node3": 2}
