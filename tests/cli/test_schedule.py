"""testbed schedule, and testbed validate with manifests."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from testbed.cli import verbs
from testbed.cli.errors import printed_errors

TOPOLOGY = "topologies/two-nodes.yaml"
SHOP = "examples/manifests/shop.yaml"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in the repository: exit code, output, errors."""
    monkeypatch.chdir(repository)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught, printed_errors():
            verbs.testbed.main([*words], prog_name="testbed", standalone_mode=False)
            raise SystemExit(0)
        told = capsys.readouterr()
        code = caught.value.code
        return code if isinstance(code, int) else 0, told.out, told.err

    return run


def test_pods_with_names_and_nodes(cli: Cli) -> None:
    code, out, err = cli("schedule", TOPOLOGY, "-f", SHOP, "-o", "wide")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:3] == ["NAME", "READY", "STATUS"]
    places = {line[0]: line[6] for line in lines[1:]}
    assert places["client"] == "node1"
    assert {places["db-0"], places["db-1"]} == {"node1", "node2"}
    assert list(places) == sorted(places)
    assert cli("schedule", TOPOLOGY, "-f", SHOP, "-o", "name") == cli("schedule", TOPOLOGY, "-f", SHOP, "-o", "name")


def test_pending_pods_end_with_exit_code_1(cli: Cli, tmp_path: Path, repository: Path) -> None:
    text = (repository / SHOP).read_text().replace("replicas: 2", "replicas: 4")
    (tmp_path / "shop.yaml").write_text(text)
    code, out, err = cli("schedule", TOPOLOGY, "statefulsets", "-f", str(tmp_path))
    assert (code, out.split()[3:5]) == (1, ["db", "2/4"])
    assert err == "Pending: db-2: 0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.\n"


def test_several_pods_with_one_reason_share_a_line(cli: Cli, tmp_path: Path, repository: Path) -> None:
    manifest = tmp_path / "web.yaml"
    text = (repository / SHOP).read_text().replace("replicas: 3", "replicas: 300").replace("maxSkew: 1", "maxSkew: 300")
    manifest.write_text(text)
    code, _, err = cli("schedule", TOPOLOGY, "-f", str(manifest))
    assert code == 1
    assert "and 86 more: 0/2 nodes are available: 2 Too many pods." in err
    assert len(err.splitlines()) < 5


def test_namespaces_labels_and_forms(cli: Cli, tmp_path: Path) -> None:
    manifest = tmp_path / "a.yaml"
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: a}}\n"
    pod += "spec: {containers: [{name: a, image: b}]}\n"
    manifest.write_text(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{pod}")
    arguments = ("schedule", TOPOLOGY, "-f", str(manifest))
    assert cli(*arguments, "-n", "shop", "-o", "name")[1] == "pod/a\n"
    assert cli(*arguments, "-A", "-l", "app=a", "-o", "name")[1] == "pod/a\n"
    assert cli(*arguments, "-l", "app=b")[2] == "No resources found in default namespace.\n"
    assert json.loads(cli(*arguments, "-n", "shop", "-o", "json")[1])["items"][0]["spec"]["nodeName"] == "node2"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("schedule", TOPOLOGY, "pdos", "-f", SHOP), "unknown kind 'pdos'; did you mean 'pods'?"),
        (("schedule", TOPOLOGY, "-f", SHOP, "-l", "app in web"), "--selector: invalid selector"),
        (("schedule", TOPOLOGY, "-f", "examples/shopp.yaml"), "examples/shopp.yaml: file not found"),
        (("schedule", SHOP, "-f", SHOP), "expected a topology, found an object of Kubernetes (kind ConfigMap)"),
        (
            ("schedule", TOPOLOGY, "-f", TOPOLOGY),
            "is no Kubernetes object: the fields 'apiVersion' and 'kind' are missing",
        ),
        (("validate", "topologies/nowhere"), "topologies/nowhere: file not found"),
    ],
)
def test_wrong_input_is_exit_code_2(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert expected in err


def test_objects_of_others_and_files_without_objects_are_listed(cli: Cli, tmp_path: Path) -> None:
    gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: front}\n"
    (tmp_path / "a.yaml").write_text(gateway)
    (tmp_path / "notes.json").write_text('{"title": "a"}')
    code, out, err = cli("validate", str(tmp_path))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{tmp_path}/a.yaml: 0 objects, no mistake found",
        f"{tmp_path}/a.yaml:1: left out: Gateway front (gateway.networking.k8s.io/v1) is not a kind of Kubernetes",
        f"{tmp_path}/notes.json: left out: no Kubernetes objects",
    ]


def test_manifests_and_topologies_are_validated_together(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A}\n")
    code, out, _ = cli("validate", TOPOLOGY, SHOP)
    assert code == 0
    assert len(out.splitlines()) == 2
    code, out, err = cli("validate", TOPOLOGY, SHOP, str(broken))
    assert (code, len(out.splitlines())) == (2, 2)
    assert f"{broken}:3:18: ConfigMap A: metadata.name: " in err
    code, out, _ = cli("validate", "--json", str(broken))
    assert (code, json.loads(out)[0]["line"]) == (2, 3)


def test_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    result: Result = CliRunner().invoke(
        verbs.testbed, ["schedule", TOPOLOGY, "cm", "-f", "-", "-o", "name"], input=(repository / SHOP).read_text()
    )
    assert (result.exit_code, result.output) == (0, "configmap/shop\n")
