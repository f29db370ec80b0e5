"""Designs with CNI plugins, in all their forms, and JSON as a tree."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.designs import CATALOGUE, design_of
from testbed.experiment.manifest import manifest_of, scenario_in
from testbed.experiment.schedule import Schedule
from testbed.plan.objects import File
from testbed.spec.design import ReadCni
from testbed.spec.json_tree import parse_json
from testbed.spec.load import LoadedScenario, load_any, load_design, load_scenario, load_topology
from testbed.spec.problems import SpecError

NETWORK = """{"cniVersion": "1.0.0", "name": "net",
  "plugins": [{"type": "bridge", "x": "{{ node.name }}/{{ mtu }}", "capabilities": {"mac": true}}]}"""
TOPOLOGY = (
    "name: two\ncluster: {pod_cidr: 10.244.0.0/16}\nfabric: {subnet: 192.168.56.0/24}\n"
    "nodes: {node1: {pods: [a]}, node2: {pods: [b]}}\n"
)
SCENARIO = """name: s
topology: two.yaml
designs:
  - vxlan
  - nets/10-net.conflist
  - {name: mine, cni: ./nets/10-net.conflist, transport: vxlan, bin: nets/bin, capabilities: {mac: m}, timeout: 2s}
  - nets/design.yaml
baseline: vxlan
paths: {p: {from: a, to: b}}
probes: {latency: {tool: sockperf, protocol: tcp, message: 64B, duration: 1s}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/10-net.conflist").write_text(NETWORK)
    (tmp_path / "nets/design.yaml").write_text(
        "name: filed\ncni: 10-net.conflist\ntransport: host-routes\nbin: [bin]\n"
    )
    (tmp_path / "two.yaml").write_text(TOPOLOGY)
    (tmp_path / "s.yaml").write_text(SCENARIO)
    return tmp_path


def networks(loaded: LoadedScenario) -> list[ReadCni]:
    return [choice for choice in loaded.value.designs if isinstance(choice, ReadCni)]


def test_paths_are_relative_to_the_file_that_names_them(folder: Path) -> None:
    loaded = load_scenario(folder / "s.yaml", CATALOGUE)
    assert loaded.value.design_names == ("vxlan", "net", "mine", "filed")
    assert [text for spec in networks(loaded) for _, text in spec.texts] == [NETWORK] * 3
    own = str(folder / "nets/bin")
    assert [spec.bin for spec in networks(loaded)] == [("/usr/lib/cni",), (own,), (own,)]
    assert [design_of(choice).transport.name for choice in networks(loaded)] == ["none", "vxlan", "host-routes"]


def test_a_network_is_a_design_by_itself(folder: Path) -> None:
    alone = load_design(folder / "nets/10-net.conflist", CATALOGUE)
    assert isinstance(alone, ReadCni)
    assert (alone.name, alone.transport.kind) == ("net", "none")
    assert load_any(folder / "nets/10-net.conflist", CATALOGUE).value == alone


def test_a_run_resumes_with_the_networks_read_at_its_start(folder: Path) -> None:
    loaded = load_scenario(folder / "s.yaml", CATALOGUE)
    manifest = json.loads(json.dumps(manifest_of(loaded, "s.yaml", Schedule.of(loaded, 1))))
    for file in (folder / "nets").iterdir():
        file.unlink()
    assert scenario_in(manifest).value.designs == loaded.value.designs


def test_a_sweep_changes_a_cni_design_but_not_its_network(folder: Path) -> None:
    (folder / "s.yaml").write_text(SCENARIO + "sweep: {offload: [on, off], designs.mine.transport: [vxlan, ipip]}\n")
    cells = load_scenario(folder / "s.yaml", CATALOGUE).cells
    found = [[choice for choice in cell.scenario.designs if isinstance(choice, ReadCni)] for cell in cells]
    assert [specs[1].transport.kind for specs in found] == ["vxlan", "ipip", "vxlan", "ipip"]
    assert all(spec.texts[0][1] == NETWORK for specs in found for spec in specs)
    (folder / "s.yaml").write_text(SCENARIO + "sweep: {designs.mine.cni: [nets/10-net.conflist, other.conflist]}\n")
    with pytest.raises(SpecError, match="cannot be swept"):
        load_scenario(folder / "s.yaml", CATALOGUE)


def test_each_node_has_its_own_values(folder: Path) -> None:
    design = design_of(load_design(folder / "nets/design.yaml", CATALOGUE))
    plan = design.plan(load_topology(folder / "two.yaml").value)
    texts = {space.name: file.text for space in plan.spaces for file in space.of(File)}
    assert {name: json.loads(text)["plugins"][0]["x"] for name, text in texts.items()} == {
        "node1": "node1/1500",
        "node2": "node2/1500",
    }
    assert [(item.space, item.node, item.container, item.ifname) for item in plan.plugged] == [
        ("a", "node1", "a", "eth0"),
        ("b", "node2", "b", "eth0"),
    ]


def test_arguments_for_an_unknown_pod_are_refused(folder: Path) -> None:
    (folder / "nets/design.yaml").write_text("cni: 10-net.conflist\npods: {c: {mac: m}}\n")
    design = design_of(load_design(folder / "nets/design.yaml", CATALOGUE))
    (misfit,) = design.misfits(load_topology(folder / "two.yaml").value)
    assert "'c'" in misfit.message
    assert misfit.valid == ("a", "b")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_is_read_like_by_the_json_module(value: Any, ascii_only: bool, indent: Any) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    source = parse_json(text, "f")
    assert source.data == json.loads(text)
    assert source.problems == ()


@given(st.text(alphabet='{}[]",:01e-truefalsn\\u \n', max_size=40))
def test_invalid_json_has_a_location_and_valid_json_is_read(text: str) -> None:
    try:
        wanted: Any = json.loads(text)
        is_json = True
    except ValueError:
        is_json = False
    try:
        source = parse_json(text, "f")
    except SpecError as error:
        assert not is_json
        assert all(problem.line >= 1 or problem.message == "the file is empty" for problem in error.problems)
    else:
        assert is_json
        assert source.problems or source.data == wanted
