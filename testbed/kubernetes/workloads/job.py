"""Jobs: pods until enough of them succeeded."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.batch import Job, JobSpec
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Pod, Resource, edit
from testbed.kubernetes.times import Condition, condition, seconds_of, timestamp, with_times
from testbed.kubernetes.workloads.pods import PodMaker, claims

INDEX = "batch.kubernetes.io/job-completion-index"
CONTROLLER = "batch.kubernetes.io/controller-uid"
BACK_OFF, LONGEST_BACK_OFF = 10, 600
"""Seconds to wait after the first failed pod, doubled with each further one, and the most."""


def reconcile(state: ClusterState, job: Resource) -> Edit:
    """Run as many pods as the Job wants at a time; remove it when its time after the end is over."""
    assert isinstance(job.typed, Job)
    spec = job.typed.spec
    if (claimed := claims(state, job, selector(job))) is not NOTHING:
        return claimed
    if state.now >= _expires(job, spec):
        return edit(gone=[job])
    pods = state.pods_of(job)
    active = [pod for pod in pods if pod.is_active]
    wanted = 0 if spec.suspend or _end(state, job) else _wanted(spec, pods)
    missing = wanted - len(active)
    if missing < 0:
        return ended(sorted(active, key=lambda pod: pod.is_ready)[:-missing], state.now)
    if not missing or state.now < _retry(pods):
        return NOTHING
    maker = PodMaker(state, job, spec.template)
    labels = {CONTROLLER: job.uid, "batch.kubernetes.io/job-name": job.name, "controller-uid": job.uid}
    labels["job-name"] = job.name
    if spec.completion_mode == "NonIndexed":
        return edit(maker.make(labels=labels) for _ in range(missing))
    numbers = islice(_free_indices(spec, pods), missing)
    return edit(_indexed(maker, job, spec, labels, number) for number in numbers)


def status(state: ClusterState, job: Resource) -> dict[str, Any]:
    """The status of a Job: counts of pods, times, and how it ended."""
    assert isinstance(job.typed, Job)
    pods, before = state.pods_of(job), job.status
    active = [pod for pod in pods if pod.is_active]
    found: dict[str, Any] = {
        "active": len(active),
        "ready": sum(pod.is_ready for pod in active),
        "succeeded": sum(pod.phase == "Succeeded" for pod in pods),
        "failed": sum(pod.phase == "Failed" for pod in pods),
        "terminating": sum(pod.is_terminating for pod in pods),
    }
    if job.typed.spec.suspend:
        conditions: list[Condition] = [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]
    else:
        found["startTime"] = before.get("startTime", timestamp(state.now))
        end = _end(state, job)
        conditions = [end] if end and not active else []
        if conditions and conditions[0]["type"] == "Complete":
            found["completionTime"] = before.get("completionTime", timestamp(state.now))
    return {**found, "conditions": with_times(before.get("conditions", ()), conditions, state.now)}


def due(state: ClusterState, job: Resource) -> float:
    """When time alone changes something: a pod is tried again, the Job takes too long, or it is removed."""
    assert isinstance(job.typed, Job)
    spec = job.typed.spec
    is_over = spec.suspend or _end(state, job) is not None
    times = (_expires(job, spec), math.inf if is_over else _deadline(job, spec), retries_at(state, job))
    return min((time for time in times if time > state.now), default=math.inf)


def retries_at(state: ClusterState, job: Resource) -> float:
    """When another pod follows one that failed; infinite if none does, or nothing delays it."""
    assert isinstance(job.typed, Job)
    spec, pods = job.typed.spec, state.pods_of(job)
    if spec.suspend or _end(state, job) or _wanted(spec, pods) <= sum(pod.is_active for pod in pods):
        return math.inf
    retry = _retry(pods)
    return retry if retry > state.now else math.inf


def selector(job: Resource) -> LabelSelector:
    """Labels of a Job's pods: those that it gives them, unless it says otherwise."""
    assert isinstance(job.typed, Job)
    if job.typed.spec.selector is not None:
        return job.typed.spec.selector
    return LabelSelector.model_construct(match_labels={CONTROLLER: job.uid}, match_expressions=())


def _end(state: ClusterState, job: Resource) -> Condition | None:
    """How the Job ended: the condition Complete or Failed; None while it runs."""
    assert isinstance(job.typed, Job)
    spec, pods = job.typed.spec, state.pods_of(job)
    known = job.status.get("conditions", ())
    if end := condition(known, "Failed") or condition(known, "Complete"):
        return end
    done = sum(pod.phase == "Succeeded" for pod in pods)
    if sum(pod.phase == "Failed" for pod in pods) > spec.backoff_limit:
        return _failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if done >= spec.completions if spec.completions is not None else done and not any(pod.is_active for pod in pods):
        message = "Reached expected number of succeeded pods"
        return {"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": message}
    if state.now >= _deadline(job, spec):
        return _failed("DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _failed(reason: str, message: str) -> Condition:
    return {"type": "Failed", "status": "True", "reason": reason, "message": message}


def _deadline(job: Resource, spec: JobSpec) -> float:
    start = job.status.get("startTime")
    if not start or spec.active_deadline_seconds is None:
        return math.inf
    return seconds_of(start) + spec.active_deadline_seconds


def _expires(job: Resource, spec: JobSpec) -> float:
    """When the Job is removed after its end; infinite if it stays."""
    ends = (one for one in job.status.get("conditions", ()) if one["type"] in ("Complete", "Failed"))
    end = next(ends, None)
    if end is None or spec.ttl_seconds_after_finished is None:
        return math.inf
    return seconds_of(str(end["lastTransitionTime"])) + spec.ttl_seconds_after_finished


def _retry(pods: tuple[Pod, ...]) -> float:
    """When a pod may follow the one that failed last."""
    last_success = max((pod.finished_at for pod in pods if pod.phase == "Succeeded"), default=-math.inf)
    failures = [pod.finished_at for pod in pods if pod.phase == "Failed" and pod.finished_at >= last_success]
    if not failures:
        return -math.inf
    return max(failures) + float(min(BACK_OFF << min(len(failures) - 1, 16), LONGEST_BACK_OFF))


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
