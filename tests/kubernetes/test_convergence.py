"""Controllers over random histories: what is remembered changes no result, and nothing happens before it is due."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.kubernetes.deleting import delete
from testbed.kubernetes.editing import cordon, label, scale
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.nodes import with_node_ready
from testbed.kubernetes.state import ClusterState, Pod
from testbed.kubernetes.workloads import due, run, step
from tests.kubernetes.clusters import applied, cluster, nodes, pod, workload

Act = Callable[[ClusterState], ClusterState]
KINDS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
MOST_STEPS = 60


def a_workload(kind: str, name: str, number: int) -> dict[str, Any]:
    counts = {} if kind == "DaemonSet" else {"replicas": number}
    progress = {"minReadySeconds": 20, "progressDeadlineSeconds": 60} if kind == "Deployment" else {}
    pods = {"containers": [{"name": "web", "image": f"nginx:{number % 2}"}]}
    return workload(kind, name, pods, **counts, **progress)


def a_job(number: int) -> dict[str, Any]:
    made = workload("Job", f"load{number}", {"restartPolicy": "Never"}, activeDeadlineSeconds=50)
    del made["spec"]["selector"]
    made["spec"]["ttlSecondsAfterFinished"] = 10 * number
    return made


def on_pod(number: int, act: Callable[[ClusterState, Pod], ClusterState]) -> Act:
    return lambda state: act(state, state.pods[number % len(state.pods)]) if state.pods else state


def finished(phase: str) -> Callable[[ClusterState, Pod], ClusterState]:
    return lambda state, one: state.changed([replace(one, phase=phase, ready_since=None)] if one.node else [])


def scaled(number: int) -> Act:
    def act(state: ClusterState) -> ClusterState:
        keys = list(state.of("Deployment"))
        return scale(state, BY_NAME["Deployment"], keys[number % len(keys)], number) if keys else state

    return act


NUMBER = st.integers(0, 4)
ACTS: st.SearchStrategy[Act] = st.one_of(
    st.builds(
        lambda kind, number: lambda state: applied(state, a_workload(kind, kind.lower(), number)),
        st.sampled_from(KINDS),
        NUMBER,
    ),
    st.builds(
        lambda number: (
            lambda state: (
                applied(state, a_job(number)) if ("default", f"load{number}") not in state.of("Job") else state
            )
        ),
        NUMBER,
    ),
    st.builds(lambda number: lambda state: applied(state, pod(f"bare{number}", {"app": "replicaset"})), NUMBER),
    st.builds(scaled, NUMBER),
    st.builds(on_pod, NUMBER, st.just(lambda state, one: delete(state, one.kind, one.key))),
    st.builds(on_pod, NUMBER, st.just(lambda state, one: label(state, one.kind, one.key, {"app": "other"}))),
    st.builds(on_pod, NUMBER, st.sampled_from([finished("Failed"), finished("Succeeded")])),
    st.builds(
        lambda ready, number: lambda state: with_node_ready(state, f"node{number % 2 + 1}", ready),
        st.sampled_from([True, False, None]),
        NUMBER,
    ),
    st.builds(lambda on: lambda state: cordon(state, "node1", unschedulable=on), st.booleans()),
    st.builds(lambda seconds: lambda state: state.at(state.now + seconds), st.integers(1, 400)),
    st.just(run),
)


def forgetful(state: ClusterState) -> ClusterState:
    """The same state, without what functions remember."""
    return replace(state, memo={})


def converged(state: ClusterState) -> ClusterState:
    for _ in range(MOST_STEPS):
        after = step(state)
        if after is state:
            return state
        state = after
    raise AssertionError(f"{MOST_STEPS} steps are not enough")


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTS, min_size=1, max_size=12))
def test_what_is_remembered_changes_nothing(acts: list[Act]) -> None:
    state = cluster(machines=nodes(2))
    for act in acts:
        state = act(state)
        fresh = step(forgetful(state))
        state = step(state)
        assert state == fresh
        assert state.groups == fresh.groups
        assert due(state) == due(forgetful(state))


@settings(max_examples=40, deadline=None)
@given(st.lists(ACTS, min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_nothing_happens_before_it_is_due(acts: list[Act], share: float) -> None:
    state = cluster(machines=nodes(2))
    for act in acts:
        state = converged(act(state))
    moment = due(state)
    end = state.now + 10_000 if moment is None else moment
    assert end > state.now
    between = forgetful(state).at(state.now + int((end - state.now) * share))
    assert step(between) is between
