"""Output as kubectl prints it. The text of each form is in `golden/`; UPDATE_GOLDEN=1 rewrites it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.deleting import terminated
from testbed.kubernetes.kinds import UNDERSTOOD, kind_named
from testbed.kubernetes.printing import printed
from testbed.kubernetes.printing.values import age
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.selectors import parse_selector
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import run, settled, step
from tests.kubernetes.clusters import Object, cluster, nodes, pod, workload

FOLDER = Path(__file__).parent
GOLDEN = FOLDER / "golden"
MANIFESTS = [
    FOLDER / "manifests/workloads.yaml",
    FOLDER / "manifests/blog.yaml",
    FOLDER.parents[1] / "examples/manifests/shop.yaml",
]


@pytest.fixture(scope="module")
def state() -> ClusterState:
    machines = nodes(3, zones=3, addresses=("192.168.56.1",), pod_ranges=("10.244.0.0/24",))
    manifests = read_manifests((path.name, path.read_text()) for path in MANIFESTS)
    start = 1_700_000_000.0
    return settled(apply(new_cluster(machines, seed=7, now=start), manifests).state).at(start + 3661)


@pytest.mark.parametrize("form", ["", "wide", "name", "yaml"])
def test_every_kind_in_every_form(state: ClusterState, form: str) -> None:
    parts = [
        printed(state, state.of(kind).values(), form, with_namespace=kind.is_namespaced and form != "yaml")
        for kind in UNDERSTOOD
        if form != "yaml" or kind.name in ("Pod", "Deployment", "Service", "Node")
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    golden = GOLDEN / f"{form or 'table'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_kinds_that_are_kept_have_their_columns() -> None:
    def kept(version: str, kind: str, **body: object) -> Object:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, **body}

    selector = {"matchLabels": {"app": "web"}}
    state = cluster(
        workload(replicas=3),
        kept("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 2, "selector": selector}),
        kept("scheduling.k8s.io/v1", "PriorityClass", value=7),
        kept("networking.k8s.io/v1", "IngressClass", spec={"controller": "a.b/c"}),
        kept("v1", "ServiceAccount"),
    )
    state = settled(state)
    names = ("pdb", "priorityclass", "ingressclass", "serviceaccount")
    kinds = [kind for name in names if (kind := kind_named(name))]
    assert [printed(state, state.of(kind).values()).split("\n") for kind in kinds] == [
        [
            "NAME   MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE",
            "web    2               N/A               1                     0s",
        ],
        [
            "NAME   VALUE   GLOBAL-DEFAULT   AGE   PREEMPTIONPOLICY",
            "web    7       false            0s    PreemptLowerPriority",
        ],
        ["NAME   CONTROLLER   PARAMETERS   AGE", "web    a.b/c        <none>       0s"],
        ["NAME   SECRETS   AGE", "web    0         0s"],
    ]


def test_json_and_yaml_are_the_same_list(state: ClusterState) -> None:
    objects = list(state)
    data = json.loads(printed(state, objects, "json"))
    assert data == yaml.safe_load(printed(state, objects, "yaml"))
    assert (data["kind"], len(data["items"])) == ("List", len(objects))


def test_what_is_printed_can_be_read_again(state: ClusterState) -> None:
    text = printed(state, [one for one in state if one.metadata.owner is None], "yaml")
    assert len(read_manifests([("printed.yaml", text)]).objects) > 20


def test_what_is_printed_changes_nothing_when_it_is_applied(state: ClusterState) -> None:
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Service", "ConfigMap", "NetworkPolicy")
    text = printed(state, [one for one in state if one.kind.name in kinds and one.metadata.owner is None], "yaml")
    outcomes = apply(state, read_manifests([("printed.yaml", text)])).outcomes
    assert {outcome for _, outcome in outcomes} == {"unchanged"}
    edited = text.replace("replicas: 3", "replicas: 4")
    assert edited != text
    after = settled(apply(state, read_manifests([("printed.yaml", edited)])).state)
    pods = {pod.name for pod in state.pods}
    assert pods < {pod.name for pod in after.pods}, "a default that is written out is no new template"


def test_single_object_is_no_list() -> None:
    state = cluster(pod("a"))
    assert json.loads(printed(state, state.pods, "json", is_single=True))["metadata"]["name"] == "a"


def test_status_and_duration_of_jobs(state: ClusterState) -> None:
    job = state.of("Job")["default", "import"]
    words = printed(state, [job]).split()
    assert words[:5] == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert words[6:8] == ["Running", "0/1"]
    state = step(state.changed([replace(pod, phase="Succeeded") for pod in state.pods_of(job)]))
    state = step(state.at(state.now + 60))
    words = printed(state, [state.of("Job")["default", "import"]]).split()
    assert words[6:9] == ["Complete", "1/1", "61m"]


def test_labels_and_names_with_kinds() -> None:
    state = cluster(pod("a", labels={"app": "web", "a": "b"}))
    assert printed(state, state.pods, with_labels=True).splitlines()[1].endswith("a=b,app=web")
    assert printed(state, state.pods, with_kind=True).splitlines()[1].startswith("pod/a ")


def test_status_of_pods() -> None:
    state = cluster(
        pod("ready"), pod("gone"), pod("gated", schedulingGates=[{"name": "a.b/c"}]), pod("no", nodeSelector={"a": "b"})
    )
    state = step(state)
    assert "ContainerCreating" in printed(state, state.pods)
    state = run(state)
    state = state.changed([terminated(one, 0) for one in state.pods if one.name == "gone"])
    done = next(replace(one, phase="Succeeded", ready_since=None) for one in state.pods if one.name == "ready")
    lines = {
        line.split()[0]: line.split()[1:3]
        for line in printed(state.changed([done]), state.changed([done]).pods).splitlines()
    }
    assert lines == {
        "NAME": ["READY", "STATUS"],
        "gated": ["0/1", "SchedulingGated"],
        "gone": ["1/1", "Terminating"],
        "no": ["0/1", "Pending"],
        "ready": ["0/1", "Completed"],
    }


def test_several_kinds_are_told_apart_by_their_names() -> None:
    state = settled(cluster(workload()))
    text = printed(state, [*state.pods, *state.of("Deployment").values()])
    assert "pod/web-" in text and "deployment.apps/web " in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"), (10_800, "3h"), (11_520, "3h12m"),
        (108_000, "30h"), (259_200, "3d"), (273_600, "3d4h"), (777_600, "9d"), (69_120_000, "2y70d"),
    ],
)  # fmt: skip
def test_age(seconds: int, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("po", "Pod"),
        ("pods", "Pod"),
        ("Pod", "Pod"),
        ("deploy", "Deployment"),
        ("deployments.apps", "Deployment"),
        ("svc", "Service"),
        ("netpol", "NetworkPolicy"),
        ("net-attach-def", "NetworkAttachmentDefinition"),
        ("pvc", "PersistentVolumeClaim"),
        ("cronjobs.batch", "CronJob"),
        ("storageclasses", "StorageClass"),
    ],
)
def test_names_of_kinds(name: str, kind: str) -> None:
    found = kind_named(name)
    assert found is not None and found.name == kind


def test_unknown_kind_has_no_name() -> None:
    assert kind_named("deployments.batch") is None


@pytest.mark.parametrize(
    ("selector", "matching"),
    [
        ("", "abc"), ("app=web", "ab"), ("app==web,tier!=front", "b"), ("tier", "a"), ("!tier", "bc"),
        ("app in (web, db)", "abc"), ("app notin (web)", "c"), ("app=web, tier in (front)", "a"), ("app!=web", "c"),
    ],
)  # fmt: skip
def test_selectors_of_commands(selector: str, matching: str) -> None:
    labels = {"a": {"app": "web", "tier": "front"}, "b": {"app": "web"}, "c": {"app": "db"}}
    found = parse_selector(selector)
    assert "".join(name for name, own in labels.items() if found.matches(own)) == matching


@pytest.mark.parametrize("selector", ["app=web;tier", "=web", "app in web", "app=-web", "a b=c", "app=web,,tier"])
def test_wrong_selectors(selector: str) -> None:
    with pytest.raises(ValueError):
        parse_selector(selector)
