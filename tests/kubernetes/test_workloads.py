"""Workloads to pods: names, numbers, updates, as the controllers of a cluster do it."""

import re
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.deleting import terminated
from testbed.kubernetes.editing import label, scaled
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.state import ClusterState, Pod
from testbed.kubernetes.status import status_of
from testbed.kubernetes.workloads import due, run, settled, step, steps
from testbed.kubernetes.workloads.deployment import HISTORY, REVISION, replica_sets
from testbed.kubernetes.workloads.proportional import size
from tests.kubernetes.clusters import (
    applied,
    cluster,
    count_by_node,
    node,
    nodes,
    only_pod,
    places,
    pod,
    the,
    workload,
)

SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"
HASH = "[bcdfghjklmnpqrstvwxz2456789]{1,10}"


def images(state: ClusterState) -> list[str]:
    return sorted(one.spec.containers[0].image or "" for one in state.pods)


def with_image(image: str, **fields: Any) -> dict[str, Any]:
    return workload(pod={"containers": [{"name": "web", "image": image}]}, **fields)


def updated(state: ClusterState, **fields: Any) -> list[ClusterState]:
    """Every state of an update from nginx to nginx:2."""
    state = applied(state, with_image("nginx:2", **fields))
    return [state, *steps(state)]


def test_deployment_makes_a_replica_set_and_pods_with_names_of_a_cluster() -> None:
    state = settled(cluster(workload(replicas=3)))
    (replica_set,) = state.of("ReplicaSet").values()
    assert re.fullmatch(f"web-{HASH}", replica_set.name)
    assert len(state.pods) == 3
    for one in state.pods:
        assert re.fullmatch(f"{replica_set.name}-{SUFFIX}", one.name)
        assert one.labels == {"app": "web", "pod-template-hash": replica_set.name.removeprefix("web-")}
        assert one.metadata.owner is not None and one.metadata.owner.uid == replica_set.uid
        assert one.is_ready and one.phase == "Running"
    assert count_by_node(state) == {"node1": 1, "node2": 1, "node3": 1}


def test_names_depend_on_the_seed_alone() -> None:
    def names(seed: int) -> list[str]:
        state = applied(new_cluster(nodes(2), seed=seed), workload(replicas=5))
        return [one.name for one in settled(state).pods]

    assert names(1) == names(1)
    assert len(set(names(1))) == 5
    assert set(names(1)).isdisjoint(names(2))


def test_deleted_pod_is_replaced_by_one_with_another_name() -> None:
    state = settled(cluster(workload(replicas=2)))
    victim = state.pods[0]
    state = step(state.changed([terminated(victim, state.now)]))
    assert len(state.pods) == 3  # The old one still terminates.
    state = settled(state)
    assert len(state.pods) == 2
    assert victim.name not in places(state)


def test_unchanged_manifests_and_settled_states_change_nothing() -> None:
    state = settled(cluster(workload(replicas=2), workload("StatefulSet", "db"), workload("DaemonSet", "agent")))
    assert step(state) is state
    assert applied(state, workload(replicas=2)) is state


def test_scaling_down_takes_pods_that_are_worth_least() -> None:
    state = settled(cluster(workload(replicas=4), machines=nodes(2)))
    costly, cheap, pending = (
        replace(
            one,
            metadata=replace(one.metadata, annotations={"controller.kubernetes.io/pod-deletion-cost": cost}),
            ready_since=ready,
        )
        for one, cost, ready in zip(state.pods, ("100", "-5", "100"), (0.0, 0.0, None), strict=False)
    )
    state = state.changed([costly, cheap, pending])

    def after(replicas: int) -> set[str]:
        left = settled(state.changed([scaled(the(state, "Deployment"), replicas)]))
        return {one.name for one in left.pods}

    every = {one.name for one in state.pods}
    assert every - after(3) == {pending.name}
    assert every - after(2) == {pending.name, cheap.name}
    assert after(1) == {costly.name}
    assert after(0) == set()


def test_scaling_down_first_relieves_nodes_with_several_pods() -> None:
    state = settled(cluster(workload(replicas=4), machines=nodes(3)))
    assert sorted(count_by_node(state).values()) == [1, 1, 2]
    state = settled(state.changed([scaled(the(state, "Deployment"), 3)]))
    assert sorted(count_by_node(state).values()) == [1, 1, 1]


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [("25%", "25%", 10 + 3, 10 - 2), (2, 0, 12, 10), (0, 3, 10, 7), ("100%", "0%", 20, 10), (1, "50%", 11, 5)],
)
def test_rolling_update_stays_within_its_bounds(surge: object, unavailable: object, most: int, least: int) -> None:
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    state = settled(cluster(with_image("nginx", replicas=10, strategy=rolling)))
    states = updated(state, replicas=10, strategy=rolling)
    for one in states:
        active = [each for each in one.pods if each.is_active]
        assert len(active) <= most
        assert sum(each.is_ready for each in active) >= least
    assert max(sum(each.is_active for each in one.pods) for one in states) == most
    assert images(states[-1]) == ["nginx:2"] * 10
    assert len(states[-1].of("ReplicaSet")) == 2  # The old one is kept for a rollback.


def test_update_waits_for_new_pods_to_become_ready() -> None:
    state = settled(cluster(with_image("nginx", replicas=4)))
    state = applied(state, with_image("nginx:2", replicas=4))
    for _ in range(10):
        state = step(state)
    # 25 % surge and 25 % unavailable: one new pod more, one old pod less, and one new pod for it.
    ready = [one for one in state.pods if one.is_ready and one.is_active]
    assert len(ready) == 3
    assert sum(one.is_active for one in state.pods) == 5
    assert images(settled(state)) == ["nginx:2"] * 4


def test_rollback_uses_the_old_replica_set() -> None:
    first = settled(cluster(with_image("nginx", replicas=2)))
    second = updated(first, replicas=2)[-1]
    third = settled(applied(second, with_image("nginx", replicas=2)))
    assert images(third) == ["nginx", "nginx"]
    assert set(third.of("ReplicaSet")) == set(second.of("ReplicaSet"))


def test_history_limit() -> None:
    state = cluster(with_image("nginx:0", revisionHistoryLimit=1))
    for number in range(4):
        state = settled(applied(state, with_image(f"nginx:{number}", revisionHistoryLimit=1)))
    assert len(state.of("ReplicaSet")) == 2


def test_recreate_ends_all_old_pods_before_it_makes_new_ones() -> None:
    strategy = {"type": "Recreate"}
    state = settled(cluster(with_image("nginx", replicas=3, strategy=strategy)))
    states = updated(state, replicas=3, strategy=strategy)
    assert all(len(set(images(one))) <= 1 for one in states)
    assert images(states[-1]) == ["nginx:2"] * 3


def test_paused_deployment_scales_but_does_not_update() -> None:
    state = settled(cluster(with_image("nginx", replicas=2)))
    state = settled(applied(state, with_image("nginx:2", replicas=3, paused=True)))
    assert images(state) == ["nginx"] * 3


def test_min_ready_seconds_delays_availability() -> None:
    state = run(step(step(cluster(workload(replicas=1, minReadySeconds=60)))))
    deployment = the(state, "Deployment")
    assert status_of(state, deployment)["readyReplicas"] == 1
    assert status_of(state, deployment)["availableReplicas"] == 0
    assert status_of(state.at(60), deployment)["availableReplicas"] == 1


def test_stateful_set_names_and_host_names() -> None:
    state = settled(cluster(workload("StatefulSet", "db", serviceName="db", replicas=3, ordinals={"start": 5})))
    assert list(places(state)) == ["db-5", "db-6", "db-7"]
    one = state.pods[0]
    assert (one.spec.hostname, one.spec.subdomain) == ("db-5", "db")
    assert one.labels["statefulset.kubernetes.io/pod-name"] == "db-5"
    assert one.labels["apps.kubernetes.io/pod-index"] == "5"


def test_ordered_stateful_set_waits_for_each_pod() -> None:
    state = step(cluster(workload("StatefulSet", "db", replicas=3)))
    assert list(places(step(state))) == ["db-0"]
    state = step(run(state))
    assert list(places(state)) == ["db-0", "db-1"]


def test_parallel_stateful_set_makes_all_at_once() -> None:
    state = step(cluster(workload("StatefulSet", "db", replicas=3, podManagementPolicy="Parallel")))
    assert list(places(state)) == ["db-0", "db-1", "db-2"]


def test_stateful_set_scales_down_from_the_highest_number() -> None:
    state = settled(cluster(workload("StatefulSet", "db", replicas=3)))
    state = state.changed([scaled(the(state, "StatefulSet", "db"), 1)])
    terminating = [{pod.name for pod in one.pods if pod.is_terminating} for one in steps(state)]
    assert [one for one in terminating if one] == [{"db-2"}, {"db-1"}]
    assert list(places(settled(state))) == ["db-0"]


def test_stateful_set_updates_one_by_one_down_to_the_partition() -> None:
    def db(image: str) -> dict[str, Any]:
        pods = {"containers": [{"name": "web", "image": image}]}
        return workload("StatefulSet", "db", pods, replicas=4, updateStrategy={"rollingUpdate": {"partition": 2}})

    state = applied(settled(cluster(db("nginx"))), db("nginx:2"))
    for one in steps(state):
        assert sum(each.is_ready and each.is_active for each in one.pods) >= 3
        state = one
    found = {one.name: one.spec.containers[0].image for one in state.pods}
    assert found == {"db-0": "nginx", "db-1": "nginx", "db-2": "nginx:2", "db-3": "nginx:2"}


def test_replaced_pod_of_a_stateful_set_keeps_its_name_and_gets_another_uid() -> None:
    state = settled(cluster(workload("StatefulSet", "db")))
    before = only_pod(state)
    after = only_pod(settled(state.changed([terminated(before, 0.0)])))
    assert after.name == before.name == "db-0"
    assert after.uid != before.uid


def test_daemon_set_has_a_pod_on_each_node_that_fits() -> None:
    state = settled(
        cluster(
            workload("DaemonSet", "agent", {"nodeSelector": {"disk": "ssd"}}),
            node("node2", {"disk": "ssd"}),
            node("node3", {"disk": "ssd"}, taints=[{"key": "dedicated", "effect": "NoSchedule"}]),
            node("node4", {"disk": "ssd"}, unschedulable=True),
            machines=nodes(5),
        )
    )
    assert sorted(places(state).values()) == ["node2", "node4"]
    assert all(re.fullmatch(f"agent-{SUFFIX}", name) for name in places(state))


def test_daemon_set_leaves_nodes_that_do_not_fit_any_more() -> None:
    state = settled(cluster(workload("DaemonSet", "agent", {"nodeSelector": {"kubernetes.io/os": "linux"}})))
    assert len(state.pods) == 3
    state = settled(label(state, BY_NAME["Node"], ("", "node1"), {"kubernetes.io/os": "other"}))
    assert sorted(places(state).values()) == ["node2", "node3"]


def test_daemon_pods_stay_on_a_node_that_takes_no_new_pods() -> None:
    taint = node("node1", taints=[{"key": "dedicated", "effect": "NoSchedule"}])
    state = settled(applied(settled(cluster(workload("DaemonSet", "agent"))), taint))
    assert sorted(places(state).values()) == ["node1", "node2", "node3"]
    status = status_of(state, the(state, "DaemonSet", "agent"))
    assert (status["desiredNumberScheduled"], status["numberMisscheduled"]) == (2, 1)
    victim = next(one for one in state.pods if one.node == "node1")
    state = settled(state.changed([terminated(victim, state.now)]))
    assert sorted(places(state).values()) == ["node2", "node3"]


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 2), (1, 0)])
def test_daemon_set_update_stays_within_its_bounds(surge: int, unavailable: int) -> None:
    def agent(image: str) -> dict[str, Any]:
        rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        pods = {"containers": [{"name": "web", "image": image}]}
        return workload("DaemonSet", "agent", pods, updateStrategy=rolling)

    state = applied(settled(cluster(agent("nginx"), machines=nodes(5))), agent("nginx:2"))
    for one in steps(state):
        ready = {each.node for each in one.pods if each.is_ready and each.is_active}
        assert len(ready) >= 5 - unavailable
        assert sum(each.is_active for each in one.pods) <= 5 + surge
        state = one
    assert images(state) == ["nginx:2"] * 5


def job(**spec: Any) -> dict[str, Any]:
    made = workload("Job", "load", {"restartPolicy": "Never"}, **spec)
    del made["spec"]["selector"]
    return made


def finished(state: ClusterState, phase: str) -> ClusterState:
    """The state with every running pod finished."""
    running = [one for one in state.pods if one.phase == "Running"]
    return state.changed(replace(one, phase=phase, ready_since=None) for one in running)


def test_job_runs_until_enough_pods_succeeded() -> None:
    state = settled(cluster(job(completions=5, parallelism=2)))
    runs = []
    while any(one.phase == "Running" for one in state.pods):
        runs.append(sum(one.phase == "Running" for one in state.pods))
        state = settled(finished(state, "Succeeded"))
    assert runs == [2, 2, 1]
    assert status_of(state, the(state, "Job", "load"))["succeeded"] == 5
    assert all(re.fullmatch(f"load-{SUFFIX}", one.name) for one in state.pods)


def test_indexed_job_numbers_its_pods() -> None:
    state = settled(cluster(job(completions=3, parallelism=3, completionMode="Indexed")))
    assert [one.spec.hostname for one in state.pods] == ["load-0", "load-1", "load-2"]
    assert all(re.fullmatch(f"load-[012]-{SUFFIX}", one.name) for one in state.pods)


def test_failed_job_stops_at_its_backoff_limit() -> None:
    state = settled(cluster(job(backoffLimit=2)))
    for _ in range(6):
        state = settled(finished(state, "Failed"))
    assert sum(one.phase == "Failed" for one in state.pods) == 3
    assert not any(one.is_active for one in state.pods)


def test_suspended_job_has_no_pods() -> None:
    assert settled(cluster(job(suspend=True))).pods == ()


def test_removed_workload_takes_its_pods_along() -> None:
    state = settled(cluster(workload(replicas=2)))
    state = settled(state.changed(gone=[the(state, "Deployment")]))
    assert (dict(state.of("ReplicaSet")), state.pods) == ({}, ())


def test_uids_and_versions_are_unique() -> None:
    state = settled(cluster(workload(replicas=20), workload("StatefulSet", "db", replicas=3)))
    uids = [one.uid for one in state]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", uid) for uid in uids)
    versions = [one.metadata.resource_version for one in state]
    assert len(set(versions)) == len(versions)
    assert isinstance(state.pods[0], Pod)


def test_no_execute_taint_evicts_pods() -> None:
    tolerant = {"tolerations": [{"operator": "Exists"}]}
    state = settled(cluster(workload(replicas=3), workload(name="tough", pod=tolerant, replicas=3)))
    state = settled(applied(state, node("node1", taints=[{"key": "broken", "effect": "NoExecute"}])))
    on_node1 = {one.labels["app"] for one in state.pods if one.node == "node1"}
    assert (len(state.pods), on_node1) == (6, {"tough"})


def test_pods_of_a_removed_node_are_replaced_elsewhere() -> None:
    state = settled(cluster(workload(replicas=3), workload("DaemonSet", "agent")))
    state = settled(state.changed(gone=[state.of("Node")["", "node2"]]))
    assert count_by_node(state) == {"node1": 3, "node3": 2} or count_by_node(state) == {"node1": 2, "node3": 3}


def sizes(state: ClusterState) -> list[int]:
    """Pods that each ReplicaSet asks for, the oldest first."""
    return [size(one) for one in replica_sets(state, the(state, "Deployment"))]


def stepped(state: ClusterState, number: int = 10) -> ClusterState:
    """The state after some steps in which no pod becomes ready."""
    for _ in range(number):
        state = step(state)
    return state


def conditions(state: ClusterState, kind: str = "Deployment", name: str = "web") -> dict[str, tuple[str, str]]:
    found = status_of(state, the(state, kind, name))["conditions"]
    return {one["type"]: (one["status"], one["reason"]) for one in found}


def test_scaling_during_an_update_keeps_the_proportions() -> None:
    # The example of the documentation of Kubernetes: 10 pods, stuck at 8 old and 5 new; scaled to 15.
    rolling = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    state = settled(cluster(with_image("nginx", replicas=10, strategy=rolling), machines=nodes(1)))
    state = stepped(applied(state, with_image("nginx:2", replicas=10, strategy=rolling)))
    assert sizes(state) == [8, 5]
    state = stepped(applied(state, with_image("nginx:2", replicas=15, strategy=rolling)))
    assert sizes(state) == [11, 7]
    state = stepped(applied(state, with_image("nginx:2", replicas=5, strategy=rolling)))
    assert sum(sizes(state)) == 8 and min(sizes(state)) >= 3
    assert sizes(settled(state)) == [0, 5]


@given(before=st.integers(0, 30), after=st.integers(0, 30), surge=st.integers(1, 8), taken=st.integers(0, 12))
def test_scaling_at_any_time_of_an_update_ends_well(before: int, after: int, surge: int, taken: int) -> None:
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}
    state = settled(cluster(with_image("nginx", replicas=before, strategy=rolling)))
    state = applied(state, with_image("nginx:2", replicas=before, strategy=rolling))
    state = [state, *islice(steps(state), taken)][-1]
    state = applied(state, with_image("nginx:2", replicas=after, strategy=rolling))
    for one in steps(state):
        assert sum(sizes(one)) <= max(before, after) + surge
        state = one
    assert images(state) == ["nginx:2"] * after


def test_revisions_are_numbered_and_rolled_back() -> None:
    state = settled(cluster(with_image("nginx")))
    state = settled(applied(state, with_image("nginx:2")))
    assert the(state, "Deployment").metadata.annotations[REVISION] == "2"
    state = settled(applied(state, with_image("nginx")))
    assert the(state, "Deployment").metadata.annotations[REVISION] == "3"
    found = [one.metadata.annotations for one in replica_sets(state, the(state, "Deployment"))]
    assert [(one[REVISION], one.get(HISTORY)) for one in found] == [("2", None), ("3", "1")]


def test_progress_of_an_update() -> None:
    state = step(cluster(workload(replicas=2)))
    assert conditions(state) == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "NewReplicaSetCreated"),
    }
    state = settled(state)
    assert conditions(state) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert due(state) is None


def test_an_update_without_progress_is_late() -> None:
    state = settled(cluster(with_image("nginx", replicas=2, progressDeadlineSeconds=60)))
    state = stepped(applied(state.at(1000), with_image("nginx:2", replicas=2, progressDeadlineSeconds=60)))
    assert due(state) == 1060
    assert conditions(step(state.at(1059)))["Progressing"] == ("True", "ReplicaSetUpdated")
    state = step(state.at(1060))
    assert conditions(state)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert due(state) is None
    assert conditions(settled(state))["Progressing"] == ("True", "NewReplicaSetAvailable")


@pytest.mark.parametrize(
    ("kind", "name"), [("ReplicaSet", "lonely"), ("StatefulSet", "web-0"), ("DaemonSet", "lonely")]
)
def test_pods_without_owner_are_adopted(kind: str, name: str) -> None:
    state = settled(cluster(pod(name, {"app": "web"}), pod("other", {"app": "db"}), machines=nodes(1)))
    state = step(applied(state, workload(kind)))
    owners = {one.name: one.metadata.owner.kind.name if one.metadata.owner else "" for one in state.pods}
    assert owners == {name: kind, "other": ""}


def test_a_stateful_set_adopts_only_pods_with_its_names() -> None:
    state = settled(cluster(pod("lonely", {"app": "web"}), workload("StatefulSet")))
    assert {one.name: bool(one.metadata.owner) for one in state.pods} == {"lonely": False, "web-0": True}


def test_a_pod_with_other_labels_is_released_and_replaced() -> None:
    state = settled(cluster(workload(replicas=2)))
    victim = state.pods[0]
    state = settled(label(state, victim.kind, victim.key, {"app": "debug"}))
    assert len(state.pods) == 3
    assert [one.name for one in state.pods if one.metadata.owner is None] == [victim.name]


def test_a_pod_that_gets_its_labels_back_is_taken_again() -> None:
    state = settled(cluster(workload(replicas=1)))
    victim = state.pods[0]
    state = settled(label(state, victim.kind, victim.key, {"app": "debug"}))
    state = settled(label(state, victim.kind, victim.key, {"app": "web"}))
    assert len(state.pods) == 1 and state.pods[0].metadata.owner is not None


def test_a_job_waits_longer_after_each_failure() -> None:
    state = step(run(step(cluster(job(backoffLimit=4)))))
    waits = []
    for _ in range(4):
        state = step(finished(state, "Failed"))
        assert not any(one.is_active for one in state.pods)
        moment = due(state)
        assert moment is not None
        waits.append(moment - state.now)
        state = run(step(state.at(moment)))
    assert waits == [10, 20, 40, 80]
    state = step(step(finished(state, "Failed")))
    assert conditions(state, "Job", "load") == {"Failed": ("True", "BackoffLimitExceeded")}


def test_a_job_that_takes_too_long_fails() -> None:
    state = run(step(step(cluster(job(activeDeadlineSeconds=100)).at(1000))))
    assert due(state) == 1100
    state = step(step(state.at(1100)))
    assert [one.is_terminating for one in state.pods] == [True]
    assert conditions(settled(state), "Job", "load") == {"Failed": ("True", "DeadlineExceeded")}


def test_a_finished_job_is_removed_after_its_time() -> None:
    state = settled(cluster(job(ttlSecondsAfterFinished=30)).at(1000))
    state = settled(finished(state.at(1010), "Succeeded"))
    status = status_of(state, the(state, "Job", "load"))
    assert (status["startTime"], status["completionTime"]) == ("1970-01-01T00:16:40Z", "1970-01-01T00:16:50Z")
    assert due(state) == 1040
    state = settled(state.at(1040))
    assert not state.of("Job") and not state.pods


def test_a_tolerated_taint_evicts_later() -> None:
    toleration = {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 40}
    state = settled(cluster(workload(replicas=1, pod={"tolerations": [toleration]}), machines=nodes(2)))
    before = only_pod(state)
    state = settled(applied(state.at(100), node(before.node, taints=[{"key": "broken", "effect": "NoExecute"}])))
    assert only_pod(state) == before
    assert due(state) == 140
    state = step(state.at(140))
    assert [one.is_terminating for one in state.pods] == [True, False]
    assert due(settled(state)) is None


def test_min_ready_seconds_are_due() -> None:
    state = step(step(run(step(step(cluster(workload(replicas=1, minReadySeconds=60)).at(10))))))
    assert due(state) == 70
    assert due(step(state.at(70))) is None or due(step(state.at(70))) > 70  # type: ignore[operator]
