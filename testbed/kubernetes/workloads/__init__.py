"""What controllers do, one file a controller: from workloads to pods, one step at a time.

`step` runs every controller and the scheduler once. `settled` repeats this, with pods that become ready at once, until
nothing changes: the end of every update. A living lab calls `step` itself, whenever its own pods change.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from testbed.kubernetes.scheduling import schedule
from testbed.kubernetes.services.controller import with_services
from testbed.kubernetes.state import ClusterState, Edit, Pod, Resource
from testbed.kubernetes.workloads import daemonset, deployment, job, replicaset, statefulset
from testbed.kubernetes.workloads.eviction import without_evicted

CONTROLLERS: Mapping[str, Callable[[ClusterState, Resource], Edit]] = {
    "Deployment": deployment.reconcile,
    "ReplicaSet": replicaset.reconcile,
    "StatefulSet": statefulset.reconcile,
    "DaemonSet": daemonset.reconcile,
    "Job": job.reconcile,
}
"""In the order in which they run."""


def step(state: ClusterState) -> ClusterState:
    """The state after each controller and the scheduler ran once; the same if nothing is left to do."""
    state = without_evicted(without_orphans(state))
    for kind, reconcile in CONTROLLERS.items():
        state = state.edited([reconcile(state, one) for one in state.of(kind).values()])
    return with_services(schedule(state))


def steps(state: ClusterState) -> Iterator[ClusterState]:
    """Each state on the way to the end: controllers run, pods become ready, terminating pods end."""
    while True:
        after = step(state)
        if after is not state:
            yield after
        ran = run(after)
        if ran is state:
            return
        state = ran
        if ran is not after:
            state = ran.at(ran.now + _longest_wait(ran))
            yield state


def settled(state: ClusterState) -> ClusterState:
    """The state at the end of all updates, if every pod that has a node becomes ready."""
    return [state, *steps(state)][-1]


def run(state: ClusterState) -> ClusterState:
    """The state with terminating pods ended, and with every other pod that has a node ready."""
    nodes = state.of("Node")
    ended = [pod for pod in state.pods if pod.is_terminating]
    started = [
        replace(pod, phase="Running", ready_since=state.now)
        for pod in state.pods
        if pod.node and not pod.is_terminating and pod.phase == "Pending" and ("", pod.node) in nodes
    ]
    return state.changed(started, ended) if ended or started else state


def without_orphans(state: ClusterState) -> ClusterState:
    """The state without objects whose owner is gone; pods that run terminate."""
    uids = {one.uid for one in state}
    orphans = [one for one in state if one.metadata.owner and one.metadata.owner.uid not in uids]
    pods = [one for one in orphans if isinstance(one, Pod) and one.node]
    ending = [replace(pod, metadata=replace(pod.metadata, deleted=state.now)) for pod in pods if not pod.is_terminating]
    gone = [one for one in orphans if not (isinstance(one, Pod) and one.node)]
    return state.changed(ending, gone) if ending or gone else state


def _longest_wait(state: ClusterState) -> int:
    """Seconds after which every ready pod is available."""
    workloads = (one for kind in CONTROLLERS if kind != "Job" for one in state.of(kind).values())
    return max((one.typed.spec.min_ready_seconds for one in workloads), default=0)  # type: ignore[attr-defined]
