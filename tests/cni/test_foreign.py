"""Files of other tools: what is read as a network, and what is named for what it is."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.cni.foreign import without_comments
from testbed.designs import CATALOGUE, design_of
from testbed.plan.objects import File
from testbed.spec.design import ReadCni
from testbed.spec.load import load_any, load_design, load_scenario
from testbed.spec.problems import Problem, SpecError
from testbed.spec.render import render_all
from testbed.spec.topology import Topology
from tests.cli.test_cli import golden

PLUGIN = '{"type": "bridge", "ipam": {"type": "host-local", "subnet": "{{ node.pod_cidr }}"}}'
LIST = f'{{"cniVersion": "1.0.0", "name": "net", "plugins": [{PLUGIN}]}}'
ATTACHMENT = """apiVersion: "k8s.cni.cncf.io/v1"
kind: NetworkAttachmentDefinition
metadata:
  name: lan
spec:
  config: '{
      "cniVersion": "0.3.1",
      "type": "macvlan",
      "master": "eth0",
      "ipam": {"type": "host-local", "subnet": "{{ node.pod_cidr }}"}
    }'
"""


def read(folder: Path, name: str, text: str) -> ReadCni:
    (folder / name).write_text(text)
    spec = load_design(folder / name, CATALOGUE)
    assert isinstance(spec, ReadCni)
    assert load_any(folder / name, CATALOGUE).value == spec
    return spec


def problem_of(folder: Path, name: str, text: str) -> Problem:
    (folder / name).write_text(text)
    with pytest.raises(SpecError) as error:
        load_any(folder / name, CATALOGUE)
    return error.value.problems[0]


@pytest.mark.parametrize("name", ["10-net.json", "10-net.conflist", "net.jsonc"])
def test_a_network_is_read_from_json(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, LIST).name == "net"


def test_comments_and_trailing_commas_of_jsonc_are_skipped(tmp_path: Path) -> None:
    written = (
        f'// mine\n{{"cniVersion": "1.0.0", /* no\n */ "name": "net", // "x": 1\n"plugins": [{PLUGIN}, // last\n],}}'
    )
    assert read(tmp_path, "net.jsonc", written).name == "net"
    problem = problem_of(tmp_path, "net.jsonc", written.replace('"net"', '"-net"'))
    assert (problem.line, problem.column) == (3, 13)


def test_comments_are_refused_where_container_runtimes_refuse_them(tmp_path: Path) -> None:
    for comment in ("// why", "/* why */", "# why"):
        problem = problem_of(tmp_path, "net.conflist", LIST.replace('"name"', f'{comment}\n"name"'))
        assert (problem.line, problem.column) == (1, LIST.index('"name"') + 1)
        assert "save it as a .jsonc file" in problem.message


VALUES = st.recursive(st.none() | st.integers() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of))


@given(VALUES, st.sampled_from([None, 1]))
def test_json_without_comments_is_not_changed(value: object, indent: int | None) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        assert without_comments(text) == text


def test_a_network_attachment_definition_is_a_design_with_its_name(tmp_path: Path, two_nodes: Topology) -> None:
    spec = read(tmp_path, "nad.yaml", ATTACHMENT)
    assert spec.name == "lan"
    (item, *_) = design_of(spec).plan(two_nodes).plugged
    assert json.loads(item.texts[0][1])["ipam"]["subnet"] == "10.244.0.0/24"
    files = {file.path for space in design_of(spec).plan(two_nodes).spaces for file in space.of(File)}
    assert "/etc/cni/net.d/nad.conflist" in files


def test_errors_in_a_network_attachment_definition_have_its_lines(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "nad.yaml", ATTACHMENT.replace('"master"', '"mtu": "1400", "master"'))
    assert (problem.line, problem.column, problem.found) == (9, 14, "1400")
    assert problem.excerpt == '      "mtu": "1400", "master": "eth0",'


def test_attachments_are_read_from_json_lists_and_several_documents(tmp_path: Path) -> None:
    config = json.dumps({"cniVersion": "0.3.1", "name": "own", "type": "macvlan"})
    item = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "lan"},
        "spec": {"config": config},
    }
    assert read(tmp_path, "nad.json", json.dumps(item)).name == "own"
    whole = {"apiVersion": "v1", "kind": "List", "items": [item]}
    assert read(tmp_path, "all.json", json.dumps(whole, indent=2)).name == "own"
    other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"
    assert read(tmp_path, "two.yaml", f"---\n{other}---\n{ATTACHMENT}---\n# nothing\n").name == "lan"


def test_the_record_of_a_runtime_has_a_network(tmp_path: Path) -> None:
    record = {"kind": "cniCacheV1", "containerId": "x", "config": base64.b64encode(LIST.encode()).decode()}
    assert read(tmp_path, "net-x-eth0.json", json.dumps(record)).name == "net"


def test_a_scenario_may_name_an_attachment(tmp_path: Path) -> None:
    (tmp_path / "nad.yaml").write_text(ATTACHMENT)
    (tmp_path / "two.yaml").write_text(
        "name: two\ncluster: {pod_cidr: 10.244.0.0/16}\nfabric: {subnet: 192.168.56.0/24}\n"
        "nodes: {node1: {pods: [a]}, node2: {pods: [b]}}\n"
    )
    (tmp_path / "s.yaml").write_text(
        "name: s\ntopology: two.yaml\ndesigns: [vxlan, nad.yaml]\nbaseline: vxlan\npaths: {p: {from: a, to: b}}\n"
        "probes: {latency: {tool: sockperf, protocol: tcp, message: 64B, duration: 1s}}\n"
    )
    assert load_scenario(tmp_path / "s.yaml", CATALOGUE).value.design_names == ("vxlan", "lan")


def test_a_topology_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(
        '{"name": "t", "cluster": {"pod_cidr": "10.244.0.0/16"}, "fabric": {"subnet": "192.168.56.0/24"},'
        ' "nodes": {"a": {"pods": ["p"]}}}'
    )
    assert isinstance(load_any(tmp_path / "t.json", CATALOGUE).value, Topology)


OTHERS = {
    "two.yaml": ATTACHMENT + "---\n" + ATTACHMENT.replace("name: lan", "name: wan"),
    "empty.yaml": ATTACHMENT[: ATTACHMENT.index("spec:")],
    "deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
    "flannel.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-flannel-cfg}\ndata:\n"
    '  cni-conf.json: |\n    {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}]}\n',
    "kind.yaml": "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: worker}]\n",
    "podman.json": '{"name": "podman", "driver": "bridge", "network_interface": "podman0", "subnets": []}',
    "docker.json": '[\n {"Name": "bridge", "Driver": "bridge", "IPAM": {"Driver": "default"}}\n]',
    "result.json": '{"cniVersion": "1.0.0", "interfaces": [], "ips": [], "dns": {}}',
    "comment.conflist": LIST.replace('"name"', '// the name\n"name"'),
}


def test_other_files_are_named_for_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problems = [problem_of(Path(), name, text) for name, text in OTHERS.items()]
    golden("cni-foreign", "\n\n".join(render_all((problem,)) for problem in problems) + "\n")
