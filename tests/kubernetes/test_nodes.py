"""Life of nodes: readiness, taints, evictions, drain and disruption budgets."""

from dataclasses import replace
from typing import Any

import pytest

from testbed.kubernetes.cluster import NAMESPACES, Machine, new_cluster
from testbed.kubernetes.deleting import delete
from testbed.kubernetes.disruption import VIOLATED, DrainOptions, drain, evict
from testbed.kubernetes.editing import cordon
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.nodes import is_unreachable, with_node_ready
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.status import status_of
from testbed.kubernetes.workloads import due, settled, step
from tests.kubernetes.clusters import Object, applied, cluster, count_by_node, nodes, only_pod, pod, workload


def taints(state: ClusterState, name: str = "node1") -> list[tuple[str, str]]:
    typed = state.of("Node")["", name].typed
    assert isinstance(typed, Node)
    return [(one.key.removeprefix("node.kubernetes.io/"), one.effect) for one in typed.spec.taints]


def disruption_budget(**spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def test_a_cordoned_node_is_tainted() -> None:
    state = step(cordon(cluster(), "node1"))
    assert taints(state) == [("unschedulable", "NoSchedule")]
    assert taints(step(cordon(state, "node1", unschedulable=False))) == []


@pytest.mark.parametrize(
    ("ready", "status", "taint"), [(False, "False", "not-ready"), (None, "Unknown", "unreachable")]
)
def test_a_node_that_is_not_ready_loses_its_pods_after_five_minutes(
    ready: bool | None, status: str, taint: str
) -> None:
    state = settled(cluster(workload(replicas=2), workload("DaemonSet", "agent"), machines=nodes(2)))
    state = with_node_ready(state.at(1000), "node1", ready)
    assert taints(state) == [(taint, "NoSchedule"), (taint, "NoExecute")]
    (condition,) = status_of(state, state.of("Node")["", "node1"])["conditions"]
    assert (condition["type"], condition["status"], condition["lastTransitionTime"]) == (
        *("Ready", status, "1970-01-01T00:16:40Z"),
    )
    assert {one.is_ready for one in state.pods if one.node == "node1"} == {False}
    state = step(state)
    assert not any(one.is_terminating for one in state.pods)
    assert due(state) == 1300
    state = step(step(state.at(1300)))
    assert [one.labels["app"] for one in state.pods if one.is_terminating] == ["web"]
    assert [one.node for one in state.pods if one.labels["app"] == "web" and one.is_active] == ["node2", "node2"]


def test_pods_of_an_unreachable_node_terminate_until_it_is_back_or_gone() -> None:
    state = settled(cluster(workload(replicas=2), machines=nodes(2)))
    state = step(with_node_ready(state.at(1000), "node1", None))
    assert is_unreachable(state, "node1")
    state = settled(state.at(1300))
    assert [one.node for one in state.pods if one.is_terminating] == ["node1"]
    back = settled(with_node_ready(state, "node1", True))
    assert taints(back) == [] and not any(one.is_terminating for one in back.pods)
    gone = step(delete(state, BY_NAME["Node"], ("", "node1")))
    assert count_by_node(gone) == {"node2": 2}


def test_a_node_that_is_back_in_time_keeps_its_pods() -> None:
    before = settled(cluster(workload(replicas=2), machines=nodes(2)))
    state = with_node_ready(step(with_node_ready(before.at(1000), "node1", None)).at(1200), "node1", True)
    state = settled(state)
    assert {one.name for one in state.pods if one.is_ready} == {one.name for one in before.pods}
    assert due(state) is None


def mixed() -> ClusterState:
    """Pods of every sort, all on one node."""
    return settled(
        cluster(
            workload(replicas=2),
            workload("DaemonSet", "agent"),
            pod("bare"),
            workload("StatefulSet", "cache", {"volumes": [{"name": "tmp", "emptyDir": {}}]}),
            machines=nodes(1),
        )
    )


def test_drain_refuses_pods_that_must_be_accepted() -> None:
    state = mixed()
    drained = drain(state, "node1", DrainOptions())
    agent = next(one.name for one in state.pods if one.labels.get("app") == "agent")
    assert drained.errors == (
        f"cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/{agent}",
        "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/cache-0",
        "cannot delete Pods that declare no controller (use --force to override): default/bare",
    )
    assert drained.evicted == () and not any(one.is_terminating for one in drained.state.pods)
    assert taints(drained.state) == [("unschedulable", "NoSchedule")]


def test_drain_evicts_all_pods_but_those_of_daemon_sets() -> None:
    state = mixed()
    drained = drain(
        state, "node1", DrainOptions(ignore_daemonsets=True, force=True, delete_emptydir_data=True, grace=5)
    )
    agent = next(one.name for one in state.pods if one.labels.get("app") == "agent")
    assert drained.warnings == (
        f"ignoring DaemonSet-managed Pods: default/{agent}",
        "deleting Pods with local storage: default/cache-0",
        "deleting Pods that declare no controller: default/bare",
    )
    assert {one.name for one in drained.state.pods if not one.is_terminating} == {agent}
    assert {one.metadata.grace for one in drained.state.pods if one.is_terminating} == {5}
    left = settled(drained.state)
    assert [one.name for one in left.pods if one.node] == [agent]


def test_drain_of_some_pods() -> None:
    web = LabelSelector.model_construct(match_labels={"app": "web"}, match_expressions=())
    drained = drain(mixed(), "node1", DrainOptions(selector=web))
    assert len(drained.evicted) == 2 and drained.errors == ()


def test_drain_of_an_unknown_node() -> None:
    with pytest.raises(Refused, match='nodes "node9" not found'):
        drain(cluster(), "node9", DrainOptions())


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"minAvailable": 3}, 1), ({"minAvailable": "50%"}, 2), ({"maxUnavailable": 1}, 1),
        ({"maxUnavailable": "30%"}, 2), ({"minAvailable": 5}, 0),
        ({"minAvailable": 0}, 4), ({"maxUnavailable": 0}, 0), ({"minAvailable": "60%"}, 1),
    ],
)  # fmt: skip
def test_disruption_budgets(spec: dict[str, Any], allowed: int) -> None:
    state = settled(cluster(workload(replicas=4), disruption_budget(**spec), machines=nodes(2)))
    gone = 0
    for one in state.pods:
        try:
            state = evict(state, one.key)
            gone += 1
        except Refused as refused:
            assert (refused.code, refused.message) == ("TooManyRequests", VIOLATED)
    assert gone == allowed


def test_drain_goes_on_as_replacements_become_ready() -> None:
    state = settled(cluster(workload(replicas=4), disruption_budget(maxUnavailable=1), machines=nodes(2)))
    for _ in range(10):
        drained = drain(state, "node1", DrainOptions())
        assert sum(one.is_ready and one.is_active for one in drained.state.pods) >= 3
        assert len(drained.evicted) <= 1
        state = settled(drained.state)
        if not drained.blocked:
            break
    assert count_by_node(state) == {"node2": 4}


def test_a_pod_that_is_not_ready_may_go_if_the_budget_is_kept() -> None:
    state = settled(cluster(workload(replicas=3), disruption_budget(minAvailable=2)))
    broken = replace(state.pods[0], ready_since=None)
    state = evict(state.changed([broken]), broken.key)
    with pytest.raises(Refused):
        evict(state, state.pods[1].key)


def test_a_new_node_takes_its_daemon_pods() -> None:
    state = settled(cluster(workload("DaemonSet", "agent"), machines=nodes(1)))
    new = new_cluster([Machine(name="node2")]).of("Node").values()
    state = settled(state.changed(replace(one, metadata=replace(one.metadata, uid="")) for one in new))
    assert count_by_node(state) == {"node1": 1, "node2": 1}
    assert {name for _, name in state.of("Namespace")} == set(NAMESPACES)
    assert only_pod(settled(delete(state, BY_NAME["Node"], ("", "node1")))).node == "node2"


def test_taints_of_a_manifest_come_beside_those_of_the_condition() -> None:
    state = with_node_ready(cluster(), "node1", False)
    own = {"key": "dedicated", "effect": "NoSchedule"}
    manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}, "spec": {"taints": [own]}}
    state = step(applied(state, manifest))
    assert taints(state) == [("dedicated", "NoSchedule"), ("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]
