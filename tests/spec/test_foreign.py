"""Files of other tools are imported as working topologies; what is left out is named with its line."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.designs import design_of
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.spec.foreign import import_file, imported
from testbed.spec.foreign.imported import names_for
from testbed.spec.load import topology_of_text
from testbed.spec.problems import SpecError
from testbed.spec.render import one_line, render_all
from testbed.spec.source import Source, parse
from testbed.spec.topology import Topology
from testbed.spec.tree import Node

FOLDER = Path(__file__).parent / "foreign"
FILES = sorted(FOLDER.glob("*.y*ml"))
LEAF_SPINE = """
name: min-clos
topology:
  nodes:
    spine: {kind: nokia_srlinux, type: ixr-d3l}
    leaf1: {kind: nokia_srlinux}
    leaf2: {kind: nokia_srlinux}
    client1: {kind: linux}
    client2: {kind: linux}
  links:
    - endpoints: ["leaf1:e1-1", "spine:e1-1"]
    - endpoints: ["leaf2:e1-1", "spine:e1-2"]
    - endpoints: ["client1:eth1", "leaf1:e1-2"]
    - endpoints: ["client2:eth1", "leaf2:e1-2"]
"""
CLUSTER = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}]\n"


def made(file: Path) -> Topology:
    return topology_of_text(import_file(file, {}).text(file.name), "made.yaml").value


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_the_topology_is_the_golden_one(file: Path) -> None:
    text = import_file(file, {}).text(file.name)
    golden = file.with_suffix(".topology")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    topology_of_text(text, "made.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_left_out_part_is_at_a_line_that_has_it(file: Path) -> None:
    for part in import_file(file, {}).left_out:
        lines = Path(part.file).read_text().splitlines()
        assert part.excerpt == lines[part.line - 1], one_line(part)
        assert part.found in part.excerpt or not part.found, one_line(part)


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("name", "designs"),
    [
        ("cluster.clab.yml", ("vxlan", "l3-gateway")),
        ("small-range.kind.yaml", ("ptp+host-routes", "l2")),
        ("forwarding.clab.yml", ("vxlan",)),
        ("parallel.clab.yml", ("vxlan",)),
        ("lenient.clab.yml", ("l3-gateway",)),
        ("two-clusters.clab.yml", ("vxlan",)),
    ],
    ids=lambda value: value.partition(".")[0] if isinstance(value, str) else "",
)
def test_imported_topologies_come_up_with_full_reachability(name: str, designs: tuple[str, ...]) -> None:
    topology = made(FOLDER / name)
    for one in designs:
        design = design_of(one)
        assert list(design.misfits(topology)) == []
        with Lab(design.plan(topology)) as lab:
            assert check_reach(lab.plan, lab.namespaces).failures == ()


CONTAINERS = st.dictionaries(
    st.sampled_from("abcdefghijk"),
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["linux", "bridge", "nokia_srlinux", "cisco_iol", "ext-container", "k8s-kind"])},
        optional={
            "type": st.sampled_from(["l2", "ixr"]),
            "sysctls": st.just({"net.ipv4.ip_forward": 1}),
            "network-mode": st.sampled_from(["none", "container:a", "container:b"]),
        },
    ),
    min_size=1,
)
NO_NETWORK = "no container has a link or is on the management network"
ENDS = st.tuples(st.integers(0, 10), st.integers(0, 10), st.sampled_from([None, 1400, 9000]))


@settings(max_examples=150)
@given(CONTAINERS, st.lists(ENDS, max_size=25))
def test_every_topology_of_containers_becomes_a_valid_one(
    nodes: dict[str, dict[str, object]], ends: list[tuple[int, int, int | None]]
) -> None:
    names = list(nodes)
    links = [
        {"endpoints": [f"{names[one % len(names)]}:eth1", f"{names[two % len(names)]}:eth2"], "mtu": mtu}
        for one, two, mtu in ends
    ]
    text = yaml.safe_dump({"name": "x", "topology": {"nodes": nodes, "links": links}})
    try:
        found = imported(parse(text, "theirs.yaml"))
    except SpecError as error:
        assert [problem.message for problem in error.problems] == [NO_NETWORK]
    else:
        assert topology_of_text(found.text("theirs.yaml"), "made.yaml").value.nodes


@settings(max_examples=200)
@given(st.sampled_from(FILES), st.data())
def test_broken_files_are_refused_with_a_line(file: Path, data: st.DataObject) -> None:
    lines = file.read_text().splitlines()
    values = ["", "[]", "{}", "text", "[[a]]", "{a: b}", "true", "0x10", "1:30", "~", '"${A}"', "{{ a }}", "&a", "- a"]
    for number in data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=3)):
        key = lines[number].rpartition(":" if data.draw(st.booleans()) else "{")[0]
        lines[number] = f"{key}: {data.draw(st.sampled_from(values))}"
    try:
        found = imported(Source(str(file), "\n".join(lines), Node(0, 0, {})))
    except SpecError as error:
        assert all(problem.file == str(file) for problem in error.problems)
        assert render_all(error.problems)
    else:
        topology_of_text(found.text(file.name), "made.yaml")


def test_variables_of_the_environment_come_before_defaults(tmp_path: Path) -> None:
    file = tmp_path / "x.clab.yml"
    file.write_text(LEAF_SPINE.replace("min-clos", "${LAB:=usual}"))
    assert import_file(file, {}).topology["name"] == "usual"
    assert import_file(file, {"LAB": "mine"}).topology["name"] == "mine"


def test_without_the_configuration_of_a_cluster_its_usual_ranges_are_used(tmp_path: Path) -> None:
    file = tmp_path / "cluster.clab.yml"
    file.write_text((FOLDER / "cluster.clab.yml").read_text())
    found = import_file(file, {})
    assert found.topology["cluster"] == {"pod_cidr": "10.244.0.0/16"}
    message = "cluster.kind.yaml of k1: file not found; imported with kind's usual ranges"
    assert [part.line for part in found.left_out if part.message == message] == [6]


TEMPLATE = LEAF_SPINE.replace("  links:", "{{ range .leaves }}\n  links:")
WRONG = {
    "neither": "name: a\nnodes: []\n",
    "unknown-end": LEAF_SPINE.replace('"leaf1:e1-1"', '"laef1:e1-1"'),
    "no-ends": LEAF_SPINE + "    - {mtu: 9000}\n",
    "one-end": LEAF_SPINE + '    - endpoints: ["leaf1:e1-9"]\n',
    "node-is-text": LEAF_SPINE.replace("{kind: nokia_srlinux, type: ixr-d3l}", "nokia_srlinux"),
    "links-is-mapping": LEAF_SPINE.partition("    - ")[0] + "    a: b\n",
    "no-containers": "topology: {nodes: {}}\n",
    "no-network": "topology: {nodes: {a: {kind: linux, network-mode: none}}}\n",
    "template": TEMPLATE,
    "template-value": CLUSTER + "networking:\n  ipFamily: {{ ip_family }}\n",
    "by-name": 'name: "{{ .name }}"\ntopology: {nodes: {a: {}}}\n',
    "broken": "kind: [Cluster\n",
    "variable": LEAF_SPINE.replace('"leaf1:e1-1"', "${X:=laef1}:e1-1") + "    - {mtu: 1}\n",
    "role": CLUSTER.replace("worker", "wroker"),
    "family": CLUSTER + "networking: {ipFamily: ipv5}\n",
    "not-a-scalar": CLUSTER + "networking: {ipFamily: [ipv4]}\n",
    "range": CLUSTER + "networking:\n  podSubnet: 10.244.0.0\n  ipFamily: dual\n",
    "range-too-small": CLUSTER + "networking: {podSubnet: 10.244.0.0/30}\n",
    "range-unusable": CLUSTER + "networking: {podSubnet: 127.0.0.0/16}\n",
}


def test_errors_have_locations_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = []
    for name, text in WRONG.items():
        file = Path(f"{name}.gotmpl" if name == "by-name" else f"{name}.yaml")
        file.write_text(text)
        with pytest.raises(SpecError) as caught:
            import_file(file, {})
        texts.append(render_all(caught.value.problems))
    golden = FOLDER / "wrong.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text("\n\n".join(texts) + "\n")
    assert "\n\n".join(texts) + "\n" == golden.read_text()


@given(st.lists(st.text(max_size=80), unique=True, max_size=20))
def test_every_name_becomes_a_unique_valid_name(originals: list[str]) -> None:
    names = names_for(originals)
    assert list(names) == originals
    assert len(set(names.values())) == len(originals)
    for name in names.values():
        assert 0 < len(name) <= 57
        assert not name.startswith("-")
        assert not name.endswith("-")
