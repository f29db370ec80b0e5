"""Workloads to pods: names, numbers, updates, as the controllers of a cluster do it."""

import re
from dataclasses import replace
from typing import Any

import pytest

from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.deleting import terminated
from testbed.kubernetes.editing import scaled
from testbed.kubernetes.state import ClusterState, Pod
from testbed.kubernetes.status import status_of
from testbed.kubernetes.workloads import run, settled, step, steps
from tests.kubernetes.clusters import (
    applied,
    cluster,
    count_by_node,
    node,
    nodes,
    only_pod,
    places,
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
    state = settled(cluster(workload("DaemonSet", "agent")))
    assert len(state.pods) == 3
    state = settled(applied(state, node("node1", taints=[{"key": "dedicated", "effect": "NoSchedule"}])))
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
