"""Reading manifests: every form in which kubectl takes them."""

import pytest

from testbed.kubernetes.dialect import is_manifest
from testbed.kubernetes.models.apps import Deployment
from testbed.kubernetes.models.core import ConfigMap, Service
from testbed.kubernetes.reading import Manifests, read_manifests
from testbed.spec.problems import SpecError

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def read(text: str, file: str = "a.yaml") -> Manifests:
    return read_manifests([(file, text)])


def names(manifests: Manifests) -> list[str]:
    return [f"{one.kind.name} {one.namespace}/{one.typed.metadata.name}" for one in manifests.objects]


def config_map(text: str) -> ConfigMap:
    (one,) = read(CONFIG_MAP + text).objects
    assert isinstance(one.typed, ConfigMap)
    return one.typed


def test_several_documents_and_empty_ones() -> None:
    second = CONFIG_MAP.replace("ConfigMap", "Secret")
    read_text = read(f"# shop\n---\n{CONFIG_MAP}---\n---\n# nothing\n---\n{second}...\n")
    assert names(read_text) == ["ConfigMap default/a", "Secret default/a"]


def test_lists_are_taken_apart() -> None:
    text = """
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
  - apiVersion: v1
    kind: ServiceList
    items:
      - {metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}]}}
"""
    assert names(read(text)) == ["Namespace /shop", "Service shop/web"]


def test_json() -> None:
    text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}'
    assert names(read(text, "a.json")) == ["ConfigMap default/a"]
    assert names(read(text, "a.yaml")) == ["ConfigMap default/a"]


def test_anchors_and_merged_mappings() -> None:
    text = """
metadata:
  name: a
  labels: &labels {app: web}
  annotations: {<<: *labels, tier: front, app: other}
"""
    (one,) = read("apiVersion: v1\nkind: ConfigMap" + text).objects
    assert one.typed.metadata.annotations == {"tier": "front", "app": "other"}
    assert one.typed.metadata.labels == {"app": "web"}


def test_anchors_end_with_their_document() -> None:
    with pytest.raises(SpecError, match="unknown anchor"):
        read("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: &name a}\n---\napiVersion: v1\nkind: Secret\n"
             "metadata: {name: *name}\n")  # fmt: skip


def test_numbers_and_words_are_read_as_kubernetes_reads_them() -> None:
    assert config_map('data: {9000: "default/web:80"}\n').data == {"9000": "default/web:80"}
    assert config_map("data: {time: 1:30, day: 2026-01-31, version: 1.2.3}\n").data == {
        "time": "1:30",
        "day": "2026-01-31",
        "version": "1.2.3",
    }


def test_file_modes_can_be_octal() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  volumes: [{name: v, configMap: {name: m, defaultMode: 0644}}]
  containers: [{name: web, image: nginx}]
"""
    (one,) = read(text).objects
    assert one.data["spec"]["volumes"][0]["configMap"]["defaultMode"] == 420


def test_empty_fields_are_absent_and_empty_labels_are_text() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {empty: }, annotations: }\ndata:\n"
    (one,) = read(text).objects
    assert one.typed.metadata.labels == {"empty": ""}
    assert one.data == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"empty": ""}},
    }


def test_kinds_of_others_are_left_out_and_listed() -> None:
    gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: front}\n"
    knative = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: front}\n"
    manifests = read(f"{CONFIG_MAP}---\n{gateway}---\n{knative}")
    assert names(manifests) == ["ConfigMap default/a"]
    assert [(one.line, one.kind, one.name) for one in manifests.left_out] == [
        (5, "Gateway", "front"),
        (9, "Service", "front"),
    ]


def test_known_kinds_without_a_model_are_kept_whole() -> None:
    text = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: example.com/ssd\n"
    (one,) = read(text).objects
    assert (one.namespace, one.kind.plural, one.data["provisioner"]) == ("", "storageclasses", "example.com/ssd")


def test_defaults_are_filled_in() -> None:
    text = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{containerPort: 80}]}]}
"""
    (one,) = read(text).objects
    assert isinstance(one.typed, Deployment)
    spec = one.typed.spec
    assert (spec.replicas, spec.strategy.type) == (1, "RollingUpdate")
    assert spec.template.spec.containers[0].ports[0].protocol == "TCP"
    assert spec.template.spec.termination_grace_period_seconds == 30


def test_positions_count_characters() -> None:
    """libyaml and Python agree about the position behind characters of several bytes."""
    text = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {"k": "äöü€𝄞", port: 80}\n'
    with pytest.raises(SpecError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert (problem.line, text.splitlines()[3][problem.column - 1 :]) == (4, "80}")


def test_same_name_in_two_namespaces_is_no_duplicate() -> None:
    other = CONFIG_MAP.replace("name: a", "name: a, namespace: shop")
    assert names(read(f"{CONFIG_MAP}---\n{other}")) == ["ConfigMap default/a", "ConfigMap shop/a"]


def test_headless_service() -> None:
    (one,) = read("apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None}\n").objects
    assert isinstance(one.typed, Service) and one.typed.spec.is_headless


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apiVersion: v1\nkind: Pod\n", True),
        ('{"kind": "Pod"}', True),
        ("# a\n---\n{\n  apiVersion: v1,\n}", True),
        ("name: two-nodes\nnodes: 2\n", False),
        ("", False),
    ],
)
def test_manifests_are_told_from_other_files(text: str, expected: bool) -> None:
    assert is_manifest(text) == expected


def test_the_same_object_by_both_parsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libyaml, PyYAML's own parser reads the same."""
    import yaml

    text = CONFIG_MAP + "data:\n  a: |\n    x\n  b: 'it''s'\n  c: \"\\u00e4\"\n"
    fast = read(text).objects[0].data
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read(text).objects[0].data == fast == {**fast, "data": {"a": "x\n", "b": "it's", "c": "ä"}}
