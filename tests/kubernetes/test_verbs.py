"""Commands on cluster state: what they name, what they change, what they refuse."""

import json
from collections.abc import Sequence

import pytest

from testbed.kubernetes.references import found, references, scope
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.verbs import VERBS, applied, deleted, shown
from testbed.kubernetes.workloads import settled
from tests.kubernetes.clusters import cluster, pod, workload


@pytest.fixture(scope="module")
def state() -> ClusterState:
    """Three pods of a Deployment, and a single pod."""
    return settled(cluster(workload(replicas=3), pod("lone", labels={"app": "lone"})))


def names(state: ClusterState, *words: str, **options: object) -> list[str]:
    return [one.name for one in found(state, references(words), scope(**options))]  # type: ignore[arg-type]


def test_objects_are_named_as_in_kubectl(state: ClusterState) -> None:
    pods = names(state, "pods")
    assert len(pods) == 4
    assert names(state, "po") == names(state, "pod") == pods
    assert names(state, "pods", pods[1], pods[0]) == [pods[1], pods[0]]
    assert names(state, "deploy/web", "pod/lone") == ["web", "lone"]
    assert names(state, "pods", selector="app=lone") == ["lone"]
    assert names(state, "pods,deployments") == [*pods, "web"]
    assert set(names(state, "all")) > {*pods, "web"}
    assert names(state, "pods", namespace="kube-system") == []
    assert names(state, "pods", namespace="kube-system", all_namespaces=True) == pods
    assert names(state, "nodes", namespace="kube-system") == names(state, "nodes") != []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a kind of objects, such as pods, or an object, such as deployment/web"),
        (["pod", "lon"], "pods \"lon\" not found; did you mean 'lone'?"),
        (["deployment/web", "lone"], "'lone' has no kind; write KIND/NAME for each object, such as pod/lone"),
        (["pod/"], "'pod/' is not KIND/NAME; write one such as deployment/web"),
    ],
)
def test_what_no_object_is_called(state: ClusterState, words: list[str], message: str) -> None:
    with pytest.raises(Refused, match="") as refused:
        names(state, *words)
    assert str(refused.value) == message


def test_unknown_kinds_and_selectors(state: ClusterState) -> None:
    with pytest.raises(Refused, match="unknown kind 'pood'; did you mean 'pod'"):
        names(state, "pood")
    with pytest.raises(Refused, match="unknown kind 'podz'; did you mean 'pods'"):
        names(state, "podz")
    with pytest.raises(Refused, match="--selector: invalid selector"):
        names(state, "pods", selector="a=(")


def texts(*objects: object) -> Sequence[tuple[str, str]]:
    return [(f"{number}.json", json.dumps(one)) for number, one in enumerate(objects)]


def test_apply_says_what_became_of_each_object(state: ClusterState) -> None:
    done = applied(state, texts=texts(workload(replicas=3), pod("other")))
    assert done.lines == ("deployment.apps/web unchanged", "pod/other created")
    assert applied(done.state, texts=texts(workload(replicas=3), pod("other"))).state is done.state
    elsewhere = applied(state, texts=texts(pod("lone")), namespace="kube-system")
    assert elsewhere.lines == ("pod/lone created",)
    assert {one.namespace for one in elsewhere.state.pods} == {"default", "kube-system"}


def test_deletion_needs_a_choice(state: ClusterState) -> None:
    with pytest.raises(Refused, match="name the pods to delete, or give --all or a --selector"):
        deleted(state, words=["pods"])
    with pytest.raises(Refused, match="with -f"):
        deleted(state)
    every = deleted(state, words=["pods"], every=True)
    assert all(one.is_terminating for one in every.state.pods)
    assert len(every.lines) == len(every.uids) == 4
    assert every.lines[0].endswith(" deleted from default namespace")


def test_deletion_of_what_is_missing(state: ClusterState) -> None:
    with pytest.raises(Refused, match='pods "other" not found'):
        deleted(state, texts=texts(pod("other")))
    assert deleted(state, texts=texts(pod("other")), ignore_missing=True).state is state
    assert deleted(state, words=["pod", "other"], ignore_missing=True).state is state
    assert deleted(state, texts=texts(workload())).lines == ('deployment.apps "web" deleted from default namespace',)


def test_marks_and_numbers(state: ClusterState) -> None:
    marked = VERBS["mark"](state, what="label", words=["pods"], selector="app=lone", changes={"tier": "front"})
    assert marked.lines == ("pod/lone labeled",)
    assert names(marked.state, "pods", selector="tier=front") == ["lone"]
    scaled = VERBS["scale"](state, words=["deployment/web"], replicas=5)
    assert (scaled.lines, len(settled(scaled.state).pods)) == (("deployment.apps/web scaled",), 6)
    node = names(state, "nodes")[0]
    cordoned = VERBS["cordon"](state, nodes=[node], unschedulable=True)
    assert cordoned.lines == (f"node/{node} cordoned",)
    again = VERBS["cordon"](cordoned.state, nodes=[node], unschedulable=True)
    assert (again.lines, again.state) == ((f"node/{node} already cordoned",), cordoned.state)


def test_only_what_has_changed_is_shown(state: ClusterState) -> None:
    after = VERBS["mark"](state, what="label", words=["pod/lone"], changes={"tier": "front"}).state
    text = shown(after, {"words": ["pods"], "since": state.version, "output": "name"})
    assert text == "pod/lone"
    assert shown(after, {"words": ["pods"], "since": after.version, "output": "name"}) == ""


def test_rollouts_are_controlled(state: ClusterState) -> None:
    after = VERBS["rollout"](state, action="restart", words=["deployment/web"])
    assert after.lines == ("deployment.apps/web restarted",)
    waiting = VERBS["rollout"](after.state, action="status", words=["deployment/web"])
    assert waiting.blocked == waiting.lines != ()
    done = settled(after.state)
    complete = VERBS["rollout"](done, action="status", words=["deployment/web"])
    assert (complete.blocked, complete.lines) == ((), ('deployment "web" successfully rolled out',))
    assert VERBS["rollout"](done, action="history", words=["deployment/web"]).lines[2:] == (
        "1         <none>",
        "2         <none>",
    )
    assert VERBS["rollout"](done, action="undo", words=["deployment/web"]).lines == ("deployment.apps/web rolled back",)
    with pytest.raises(Refused, match="only for Deployments"):
        VERBS["rollout"](state, action="undo", words=["pod/lone"])
