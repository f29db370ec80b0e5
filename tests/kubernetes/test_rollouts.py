"""Rollouts: restart, undo, pause, resume, history, progress."""

from collections.abc import Callable
from typing import Any

import pytest

from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.rollouts import Revision, history, pause, progress, restart, resume, undo
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import run, settled, step, steps
from tests.kubernetes.clusters import applied, cluster, the, workload

DEPLOYMENT = BY_NAME["Deployment"]
WEB = ("default", "web")


def web(image: str, **fields: Any) -> dict[str, Any]:
    made = workload(pod={"containers": [{"name": "web", "image": image}]}, **fields)
    made["metadata"]["annotations"] = {"kubernetes.io/change-cause": f"to {image}"}
    return made


def images(state: ClusterState) -> set[str | None]:
    return {one.spec.containers[0].image for one in state.pods}


def thrice() -> ClusterState:
    """A Deployment with three revisions."""
    state = settled(cluster(web("nginx:1", replicas=2)))
    state = settled(applied(state, web("nginx:2", replicas=2)))
    return settled(applied(state, web("nginx:3", replicas=2)))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_restart_replaces_every_pod(kind: str) -> None:
    state = settled(cluster(workload(kind))).at(1000)
    before = {one.uid for one in state.pods}
    state = settled(restart(state, BY_NAME[kind], WEB))
    assert len(state.pods) == len(before) and before.isdisjoint(one.uid for one in state.pods)
    assert restart(state, BY_NAME[kind], WEB) is state  # Twice within a second is once.


def test_undo_goes_back_by_one() -> None:
    state = settled(undo(thrice(), WEB))
    assert images(state) == {"nginx:2"}
    assert len(state.of("ReplicaSet")) == 3
    assert history(state, WEB) == (Revision(1, "to nginx:1"), Revision(3, "to nginx:3"), Revision(4, "to nginx:2"))


def test_undo_goes_back_to_a_revision() -> None:
    state = settled(undo(thrice(), WEB, 1))
    assert images(state) == {"nginx:1"}
    assert undo(state, WEB, 4) is state
    assert undo(state, WEB, 1) is state  # Revision 4 was revision 1.


def test_a_paused_deployment_is_not_updated_until_it_is_resumed() -> None:
    state = pause(settled(cluster(web("nginx:1"))), WEB)
    state = settled(state.changed([the(applied(state, web("nginx:2", paused=True)), "Deployment")]))
    assert images(state) == {"nginx:1"}
    assert images(settled(resume(state, WEB))) == {"nginx:2"}


def test_progress_of_a_rollout() -> None:
    state = applied(settled(cluster(web("nginx:1", replicas=4))), web("nginx:2", replicas=4))
    texts = [progress(state, WEB), *(progress(one, WEB) for one in steps(state))]
    assert texts[0] == (
        'Waiting for deployment "web" rollout to finish: 0 out of 4 new replicas have been updated...',
        False,
    )
    assert texts[-1] == ('deployment "web" successfully rolled out', True)


def test_progress_counts_the_old_pods_that_are_left() -> None:
    surge = {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
    state = settled(cluster(web("nginx:1", replicas=4, strategy=surge)))
    state = step(step(step(applied(state, web("nginx:2", replicas=4, strategy=surge)))))
    text = 'Waiting for deployment "web" rollout to finish: 4 old replicas are pending termination...'
    assert progress(state, WEB) == (text, False)


REFUSED: list[tuple[Callable[[ClusterState], object], str]] = [
    (lambda state: undo(state, WEB, 9), "unable to find specified revision 9 in history"),
    (lambda state: undo(step(cluster(web("nginx"))), WEB), 'no rollout history found for deployment "web"'),
    (
        lambda state: undo(pause(state, WEB), WEB),
        'deployments.apps "web" can\'t rollback paused deployment (run rollout resume first)',
    ),
    (
        lambda state: restart(pause(state, WEB), DEPLOYMENT, WEB),
        'deployments.apps "web" can\'t restart paused deployment (run rollout resume first)',
    ),
    (lambda state: pause(pause(state, WEB), WEB), 'deployments.apps "web" is already paused'),
    (lambda state: resume(state, WEB), 'deployments.apps "web" is not paused'),
    (lambda state: history(state, ("default", "wep")), 'deployments.apps "wep" not found'),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refusals(change: Callable[[ClusterState], object], message: str) -> None:
    state = run(thrice())
    with pytest.raises(Refused) as refused:
        change(state)
    assert refused.value.message == message


def test_a_late_rollout_is_refused() -> None:
    state = step(cluster(web("nginx", progressDeadlineSeconds=60)))
    state = step(step(state).at(100))
    with pytest.raises(Refused, match="exceeded its progress deadline"):
        progress(state, WEB)
