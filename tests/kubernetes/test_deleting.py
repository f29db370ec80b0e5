"""Deletion: grace periods, what follows the deleted object, and what is refused."""

import pytest

from testbed.kubernetes.cluster import Machine
from testbed.kubernetes.deleting import PERMANENT, delete
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import run, settled, step
from tests.kubernetes.clusters import applied, cluster, only_pod, pod, the, workload

POD, DEPLOYMENT, NAMESPACE = BY_NAME["Pod"], BY_NAME["Deployment"], BY_NAME["Namespace"]
WEB = ("default", "web")


def in_namespace(name: str) -> ClusterState:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    web = workload(replicas=2)
    web["metadata"]["namespace"] = name
    return settled(cluster(space, web))


def test_a_pod_with_a_node_terminates_for_its_grace_period() -> None:
    state = settled(cluster(pod("web", terminationGracePeriodSeconds=7))).at(100)
    found = only_pod(delete(state, POD, WEB))
    assert (found.metadata.deleted, found.metadata.grace, found.is_ready) == (100, 7, True)
    assert only_pod(delete(state, POD, WEB, 3)).metadata.grace == 3


def test_a_second_request_only_shortens_the_grace_period() -> None:
    state = delete(settled(cluster(pod("web"))).at(100), POD, WEB).at(110)
    assert delete(state, POD, WEB) is state
    assert delete(state, POD, WEB, 20) is state
    found = only_pod(delete(state, POD, WEB, 5))
    assert (found.metadata.deleted, found.metadata.grace) == (100, 15)
    assert delete(state, POD, WEB, 0).pods == ()


def test_a_pod_without_node_goes_at_once() -> None:
    assert delete(step(cluster(pod("web"), machines=())), POD, WEB).pods == ()


@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("Pod", ("default", "web-2"), 'pods "web-2" not found'),
        ("Deployment", ("other", "web"), 'deployments.apps "web" not found'),
        *(("Namespace", ("", name), f'namespaces "{name}" is forbidden: this namespace may not be deleted')
          for name in PERMANENT),
    ],
)  # fmt: skip
def test_refusals(kind: str, key: tuple[str, str], message: str) -> None:
    state = settled(cluster(pod("web-1"), workload()))
    with pytest.raises(Refused) as refused:
        delete(state, BY_NAME[kind], key)
    assert refused.value.message == message


def test_a_missing_object_names_the_nearest_one() -> None:
    with pytest.raises(Refused, match="did you mean 'frontend'"):
        delete(cluster(pod("frontend")), POD, ("default", "frontent"))


def test_in_the_background_the_owner_goes_first() -> None:
    state = delete(settled(cluster(workload(replicas=2))), DEPLOYMENT, WEB)
    assert not state.of("Deployment")
    state = step(state)
    assert not state.of("ReplicaSet")
    assert [one.is_terminating for one in state.pods] == [True, True]
    assert run(state).pods == () and step(state) is state


def test_in_the_foreground_the_owner_waits_for_its_pods() -> None:
    state = delete(settled(cluster(workload(replicas=2))), DEPLOYMENT, WEB, cascade="foreground")
    state = step(step(state))
    assert len(state.of("Deployment")) == len(state.of("ReplicaSet")) == 1
    assert [one.is_terminating for one in state.pods] == [True, True]
    state = step(step(run(state)))
    assert not state.of("Deployment") and not state.of("ReplicaSet") and not state.pods


def test_orphans_stay_and_work_on() -> None:
    state = delete(settled(cluster(workload(replicas=2))), DEPLOYMENT, WEB, cascade="orphan")
    (replica_set,) = state.of("ReplicaSet").values()
    assert replica_set.metadata.owner is None
    names = {one.name for one in state.pods}
    state = settled(state)
    assert {one.name for one in state.pods} == names
    victim = state.pods[0]
    assert len(settled(delete(state, POD, victim.key)).pods) == 2


def test_a_namespace_waits_for_its_contents() -> None:
    state = delete(in_namespace("shop"), NAMESPACE, ("", "shop"))
    assert state.of(NAMESPACE)["", "shop"].is_terminating
    state = step(state)
    assert [one.is_terminating for one in state.pods] == [True, True]
    assert ("", "shop") in state.of(NAMESPACE)
    state = settled(state)
    assert not state.pods and ("", "shop") not in state.of(NAMESPACE)
    assert not any(one.namespace == "shop" for one in state)


def test_a_node_that_goes_takes_its_pods_along() -> None:
    state = settled(cluster(workload("DaemonSet", "agent"), machines=(Machine(name="a"), Machine(name="b"))))
    state = step(delete(state, BY_NAME["Node"], ("", "a")))
    assert [one.node for one in state.pods] == ["b"]


def test_a_deleted_and_recreated_owner_does_not_keep_the_old_children() -> None:
    state = settled(cluster(workload(replicas=1)))
    old = only_pod(state)
    state = applied(delete(state, DEPLOYMENT, WEB), workload(replicas=1))
    state = settled(state)
    assert only_pod(state).uid != old.uid
    assert the(state, "Deployment").uid != old.metadata.owner.uid  # type: ignore[union-attr]
