"""Jobs: pods until enough of them succeeded."""

from collections.abc import Iterator
from itertools import islice

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.batch import Job, JobSpec
from testbed.kubernetes.state import ClusterState, Edit, Pod, Resource, edit
from testbed.kubernetes.workloads.pods import PodMaker

INDEX = "batch.kubernetes.io/job-completion-index"


def reconcile(state: ClusterState, job: Resource) -> Edit:
    """Run as many pods as the Job wants at a time."""
    assert isinstance(job.typed, Job)
    spec = job.typed.spec
    pods = state.pods_of(job)
    active = [pod for pod in pods if pod.is_active]
    wanted = 0 if spec.suspend or has_failed(state, job) else _wanted(spec, pods)
    missing = wanted - len(active)
    if missing < 0:
        return ended(sorted(active, key=lambda pod: pod.is_ready)[:-missing], state.now)
    maker = PodMaker(state, job, spec.template)
    labels = {
        "batch.kubernetes.io/controller-uid": job.uid,
        "batch.kubernetes.io/job-name": job.name,
        "controller-uid": job.uid,
        "job-name": job.name,
    }
    if spec.completion_mode == "NonIndexed":
        return edit(maker.make(labels=labels) for _ in range(missing))
    numbers = islice(_free_indices(spec, pods), missing)
    return edit(_indexed(maker, job, spec, labels, number) for number in numbers)


def succeeded(state: ClusterState, job: Resource) -> int:
    """Completions of a Job: pods that succeeded."""
    return sum(pod.phase == "Succeeded" for pod in state.pods_of(job))


def has_failed(state: ClusterState, job: Resource) -> bool:
    """Whether more pods failed than the Job may retry."""
    assert isinstance(job.typed, Job)
    return sum(pod.phase == "Failed" for pod in state.pods_of(job)) > job.typed.spec.backoff_limit


def _wanted(spec: JobSpec, pods: tuple[Pod, ...]) -> int:
    done = sum(pod.phase == "Succeeded" for pod in pods)
    if spec.completions is None:  # A work queue: once a pod succeeded, no other is started.
        return spec.parallelism if not done else sum(pod.is_active for pod in pods)
    return max(0, min(spec.parallelism, spec.completions - done))


def _free_indices(spec: JobSpec, pods: tuple[Pod, ...]) -> Iterator[int]:
    taken = {pod.metadata.annotations.get(INDEX) for pod in pods if pod.is_active or pod.phase == "Succeeded"}
    return (number for number in range(spec.completions or 0) if str(number) not in taken)


def _indexed(maker: PodMaker, job: Resource, spec: JobSpec, labels: dict[str, str], number: int) -> Pod:
    hostname = {"hostname": f"{job.name}-{number}"}
    return maker.make(
        prefix=f"{job.name}-{number}-",
        labels={**labels, INDEX: str(number)},
        annotations={INDEX: str(number)},
        spec=spec.template.spec.model_copy(update=hostname),
        extra=hostname,
    )
