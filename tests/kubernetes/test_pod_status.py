"""Status of pods, and its columns, as kubectl computes them from the states of containers."""

from dataclasses import replace
from typing import Any

import pytest

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.pod_status import followed, pod_status, qos_class, readiness, restarts, summary, with_gate
from testbed.kubernetes.printing import printed
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import Pod
from testbed.kubernetes.workloads import step
from tests.kubernetes.clusters import cluster, only_pod, pod, pod_spec

IMAGE = "nginx"


def scheduled(**spec: Any) -> Pod:
    return only_pod(step(cluster(pod("web", **spec)).at(100)))


def container(name: str = "web", state: Any = "running", **fields: Any) -> ContainerStatus:
    return ContainerStatus(name=name, image=IMAGE, state=state, **fields)


def with_containers(*containers: ContainerStatus, phase: str = "Running", is_ready: bool = False, **spec: Any) -> Pod:
    return followed(scheduled(**spec), 110, phase=phase, is_ready=is_ready, containers=containers)


INIT: dict[str, Any] = {"initContainers": [{"name": name, "image": IMAGE} for name in ("first", "second")]}
SIDECAR: dict[str, Any] = {"initContainers": [{"name": "proxy", "image": IMAGE, "restartPolicy": "Always"}]}
DONE = container("first", "terminated", reason="Completed", exit_code=0, is_init=True)
WAITING = container("second", "waiting", reason="PodInitializing", is_init=True)
MAIN_WAITS = container(state="waiting", reason="PodInitializing")
RUNS = container(ready=True, started=True)
CASES: list[tuple[Pod, str, str]] = [
    (scheduled(), "0/1", "ContainerCreating"),
    (scheduled(**INIT), "0/1", "Init:0/2"),
    (with_containers(DONE, WAITING, MAIN_WAITS, phase="Pending", **INIT), "0/1", "Init:1/2"),
    (
        with_containers(DONE, replace(DONE, name="second"), MAIN_WAITS, phase="Pending", **INIT),
        *("0/1", "PodInitializing"),
    ),
    (
        with_containers(replace(DONE, reason="Error", exit_code=1), WAITING, MAIN_WAITS, phase="Pending", **INIT),
        *("0/1", "Init:Error"),
    ),
    (
        with_containers(
            container("first", "waiting", reason="CrashLoopBackOff", is_init=True), WAITING, MAIN_WAITS, **INIT
        ),
        *("0/1", "Init:CrashLoopBackOff"),
    ),
    (
        with_containers(container("proxy", is_init=True, started=True, ready=True), RUNS, is_ready=True, **SIDECAR),
        *("2/2", "Running"),
    ),
    (with_containers(container("proxy", is_init=True), MAIN_WAITS, phase="Pending", **SIDECAR), "0/2", "Init:0/1"),
    (with_containers(RUNS, is_ready=True), "1/1", "Running"),
    (with_containers(container(started=True)), "0/1", "Running"),
    (with_containers(container(state="waiting", reason="CrashLoopBackOff")), "0/1", "CrashLoopBackOff"),
    (
        with_containers(container(state="waiting", reason="ImagePullBackOff"), phase="Pending"),
        "0/1",
        "ImagePullBackOff",
    ),
    (with_containers(container(state="terminated", reason="Error", exit_code=1), phase="Failed"), "0/1", "Error"),
    (with_containers(container(state="terminated", exit_code=3), phase="Failed"), "0/1", "ExitCode:3"),
    (with_containers(container(state="terminated", exit_code=137), phase="Failed"), "0/1", "Signal:9"),
    (
        with_containers(container(state="terminated", reason="Completed", exit_code=0), phase="Succeeded"),
        *("0/1", "Completed"),
    ),
    (replace(scheduled(), phase="Failed", failure="Evicted"), "0/1", "Error"),
    (replace(scheduled(), metadata=replace(scheduled().metadata, deleted=1.0)), "0/1", "Terminating"),
    (
        replace(scheduled(), metadata=replace(scheduled().metadata, deleted=1.0), failure="NodeLost"),
        *("0/1", "Unknown"),
    ),
    (scheduled(schedulingGates=[{"name": "a.b/c"}]), "0/1", "SchedulingGated"),
    (scheduled(nodeSelector={"a": "b"}), "0/1", "Pending"),
]


@pytest.mark.parametrize(("one", "ready", "status"), CASES, ids=[status for _, _, status in CASES])
def test_columns_ready_and_status(one: Pod, ready: str, status: str) -> None:
    assert (readiness(one), summary(one)) == (ready, status)


def test_restarts_say_when_the_last_one_was() -> None:
    last = container(state="terminated", exit_code=1, finished_at=100.0)
    one = with_containers(replace(RUNS, restart_count=3, last=last), is_ready=True)
    assert restarts(one) == (3, 100.0)
    state = cluster().changed([one]).at(110)
    assert "3 (10s ago)" in printed(state, state.pods)


def test_conditions_and_times() -> None:
    one = with_containers(replace(RUNS, started_at=111.0), is_ready=True)
    found = pod_status(replace(one, ips=("10.1.0.2", "fd00::2"), host_ips=("192.168.0.1",)))
    assert {each["type"]: (each["status"], each["lastTransitionTime"][-3:]) for each in found["conditions"]} == {
        "PodReadyToStartContainers": ("True", "50Z"),
        "Initialized": ("True", "50Z"),
        "Ready": ("True", "50Z"),
        "ContainersReady": ("True", "50Z"),
        "PodScheduled": ("True", "40Z"),
    }
    assert (found["podIP"], found["podIPs"]) == ("10.1.0.2", [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}])
    assert (found["hostIP"], found["startTime"]) == ("192.168.0.1", "1970-01-01T00:01:50Z")
    (shown,) = found["containerStatuses"]
    assert shown["state"] == {"running": {"startedAt": "1970-01-01T00:01:51Z"}} and shown["ready"] is True


def test_a_pod_that_stops_to_be_ready_says_since_when() -> None:
    state = cluster().changed([with_containers(RUNS, is_ready=True)]).at(200)
    after = followed(only_pod(state), 200, phase="Running", is_ready=False, containers=(container(),))
    one = only_pod(state.changed([after]))
    ready = next(each for each in pod_status(one)["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["lastTransitionTime"]) == (
        *("False", "ContainersNotReady", "1970-01-01T00:03:20Z"),
    )
    assert ready["message"] == "containers with unready status: [web]"


def test_a_readiness_gate_keeps_a_pod_unready() -> None:
    one = with_containers(RUNS, is_ready=True, readinessGates=[{"conditionType": "a.b/c"}])
    assert not one.is_ready and readiness(one) == "1/1"
    ready = next(each for each in pod_status(one)["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    opened = followed(
        replace(one, gates=frozenset({"a.b/c"})), 120, phase="Running", is_ready=True, containers=one.containers
    )
    assert opened.ready_since == 120


def test_a_readiness_gate_is_opened_and_closed_by_hand() -> None:
    one = with_containers(RUNS, is_ready=True, readinessGates=[{"conditionType": "a.b/c"}])
    state = with_gate(cluster().changed([one]).at(200), one.key, "a.b/c", is_true=True)
    assert only_pod(state).ready_since == 200
    assert with_gate(state, one.key, "a.b/c", is_true=True) is state
    assert not only_pod(with_gate(state, one.key, "a.b/c", is_true=False)).is_ready
    with pytest.raises(Refused, match=r"no readiness gate .*; did you mean"):
        with_gate(state, one.key, "a.b/d", is_true=True)


def test_a_report_without_news_changes_nothing() -> None:
    one = with_containers(RUNS, is_ready=True)
    assert followed(one, 300, phase="Running", is_ready=True, containers=(RUNS,)) is one


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}, "Guaranteed"),
        ({"requests": {"example.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    containers = [{**pod_spec()["containers"][0], "resources": resources}]
    assert qos_class(scheduled(containers=containers)) == expected
