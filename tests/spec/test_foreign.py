"""Files of other tools are imported as working topologies, with a list of left-out parts."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.designs import design_of
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.spec.foreign import imported
from testbed.spec.foreign.imported import names_for
from testbed.spec.load import topology_of_text
from testbed.spec.problems import SpecError
from testbed.spec.render import render_all
from testbed.spec.source import parse, read_source
from testbed.spec.topology import Topology

FOLDER = Path(__file__).parent / "foreign"
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


def made(text: str) -> Topology:
    return topology_of_text(imported(parse(text, "theirs.yaml")).text("theirs.yaml"), "made.yaml").value


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.y*ml")), ids=lambda path: path.stem)
def test_the_topology_is_the_golden_one(file: Path) -> None:
    text = imported(read_source(file)).text(file.name)
    golden = file.with_suffix(".topology")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    topology_of_text(text, "made.yaml")


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("text", "designs"),
    [
        (LEAF_SPINE, ("vxlan", "l3-gateway")),
        (CLUSTER, ("ptp+host-routes", "l2")),
        ((FOLDER / "racks.clab.yml").read_text(), ("vxlan",)),
        ((FOLDER / "dual.kind.yaml").read_text(), ("vxlan",)),
    ],
    ids=["leaf-spine", "kind", "racks", "dual"],
)
def test_imported_topologies_come_up_with_full_reachability(text: str, designs: tuple[str, ...]) -> None:
    topology = made(text)
    for name in designs:
        design = design_of(name)
        assert list(design.misfits(topology)) == []
        with Lab(design.plan(topology)) as lab:
            assert check_reach(lab.plan, lab.namespaces).failures == ()


WRONG = {
    "neither": "name: a\nnodes: []\n",
    "unknown-end": LEAF_SPINE.replace('"leaf1:e1-1"', '"laef1:e1-1"'),
    "no-ends": LEAF_SPINE + "    - {mtu: 9000}\n",
    "role": CLUSTER.replace("worker", "wroker"),
    "family": CLUSTER + "networking: {ipFamily: ipv5}\n",
    "broken": "kind: [Cluster\n",
}


def test_errors_have_locations() -> None:
    texts = []
    for name, text in WRONG.items():
        with pytest.raises(SpecError) as caught:
            imported(parse(text, f"{name}.yaml"))
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
        assert 0 < len(name) <= 63
        assert not name.startswith("-")
        assert not name.endswith("-")
