"""The picture of a plan is complete and in order, and Graphviz draws it."""

import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from testbed.designs import DESIGNS, PLAIN, design_of, pairs
from testbed.plan.graph import MOST_LISTED_PODS, dot
from testbed.plan.objects import Kind, Plan
from testbed.spec.load import load_topology, topology_of_text
from testbed.spec.topology import Topology

GOLDEN = Path(__file__).parent / "graph"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
SIXTEEN = """
name: sixteen
cluster: {pod_cidr: 10.244.0.0/16}
fabric: {subnet: 192.168.56.0/24}
nodes: 16
pods_per_node: 64
"""


ONE_SUBNET = ("two-nodes", "three-nodes", "dual-stack", "grid", "sixteen-nodes", "shaped")
FABRICS = ("two-subnets", "leaf-spine", "dual-homed", "wan", "named")
PICTURES = [
    *((file, design) for file in ONE_SUBNET for design in PLAIN),
    *((file, design) for file in FABRICS for design in ("vxlan", "l3-gateway")),
]


def drawn(text: str, kind: str) -> bytes:
    if shutil.which("dot") is None:
        pytest.skip("needs Graphviz")
    done = subprocess.run(["dot", f"-T{kind}"], input=text.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout


def words(text: str) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", text))


@pytest.mark.parametrize("design", list(DESIGNS))
def test_the_picture_of_each_design_equals_its_golden_file(design: str, two_nodes: Topology) -> None:
    text = dot(DESIGNS[design].plan(two_nodes))
    golden = GOLDEN / f"{design}.dot"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(("file", "design"), PICTURES)
def test_every_node_pod_switch_router_and_address_is_drawn(design: str, file: str, repository: Path) -> None:
    plan = DESIGNS[design].plan(load_topology(repository / f"topologies/{file}.yaml").value)
    shown = words(drawn(dot(plan), "svg").decode())
    assert all(space.name not in shown for space in plan.of_kind(Kind.CABLE)), "a shaped link is a line"
    for space in plan.of_kind(Kind.NODE, Kind.POD, Kind.SWITCH, Kind.ROUTER):
        assert re.search(rf"\b{space.name}\b", shown), space.name
        assert all(str(address) in shown for address in space.reached_at)


@pytest.mark.parametrize("design", list(PLAIN))
def test_the_first_of_many_pods_are_listed_and_the_others_counted(design: str) -> None:
    plan = DESIGNS[design].plan(topology_of_text(SIXTEEN, "sixteen.yaml").value)
    shown = words(drawn(dot(plan), "svg").decode())
    assert shown.count("64 pods") == 16
    assert shown.count(f"and {64 - MOST_LISTED_PODS} more, up to") == 16
    width, height = map(float, re.findall(r"-?[\d.]+", drawn(dot(plan), "plain").decode().splitlines()[0])[1:3])
    assert width / height < 2.5, "two rows of nodes, not one"


def columns(plan: Plan) -> list[str]:
    """The nodes by the position of their routes, row by row, from left to right."""
    found = re.findall(r'^node "?(node\d+)"? (\S+) (\S+)', drawn(dot(plan), "plain").decode(), re.MULTILINE)
    return [name for name, _, _ in sorted(found, key=lambda item: (-round(float(item[2])), float(item[1])))]


@pytest.mark.parametrize("design", list(PLAIN))
@pytest.mark.parametrize("nodes", [2, 4, 7, 16])
def test_nodes_are_drawn_in_order(design: str, nodes: int) -> None:
    text = SIXTEEN.replace("nodes: 16", f"nodes: {nodes}")
    plan = DESIGNS[design].plan(topology_of_text(text, "t.yaml").value)
    assert columns(plan) == [f"node{number}" for number in range(1, nodes + 1)]


def test_tunnels_are_drawn_only_between_few_nodes(two_nodes: Topology) -> None:
    assert dot(DESIGNS["vxlan"].plan(two_nodes)).count("style=dashed") == 1
    large = dot(DESIGNS["vxlan"].plan(topology_of_text(SIXTEEN, "t.yaml").value))
    assert large.count("style=dashed") == 0
    assert "120 tunnels between nodes, not drawn: more than 4 nodes" in words(drawn(large, "svg").decode())
    assert "not drawn" not in dot(DESIGNS["l2"].plan(topology_of_text(SIXTEEN, "t.yaml").value))
    assert dot(DESIGNS["l2"].plan(two_nodes)).count("style=dashed") == 0


@pytest.mark.parametrize("file", ["leaf-spine", "wan", "named"])
def test_nodes_of_several_racks_are_drawn_in_order(file: str, repository: Path) -> None:
    plan = DESIGNS["l3-gateway"].plan(load_topology(repository / f"topologies/{file}.yaml").value)
    assert columns(plan) == [space.name for space in plan.of_kind(Kind.NODE)]


def test_labels_of_links_have_their_qualities() -> None:
    wan = "{rate: 50Mbit, delay: 20ms, jitter: 500us, loss: 0.1%, back: {rate: 2Gbit, duplicate: 1%}}"
    text = f"""
name: wan
cluster: {{pod_cidr: 10.244.0.0/16}}
fabric: {{shape: wan, subnet: 192.168.0.0/16, wan: {wan}, rate: 1Gbit}}
nodes: 2
"""
    shown = dot(DESIGNS["vxlan"].plan(topology_of_text(text, "wan.yaml").value))
    assert "to edge2: 50 Mbit/s, 20 ms ± 500 µs, 0.1 % lost\n" in shown
    assert "to edge1: 2 Gbit/s, 20 ms ± 500 µs, 0.1 % lost, 1 % duplicated" in shown
    assert shown.count('label="1 Gbit/s"') == 2


def test_racks_are_above_and_below_the_spines() -> None:
    """Nodes of one rack are in one row, and leaves are between their rack and the spines."""
    text = """
name: racks
cluster: {pod_cidr: 10.244.0.0/16}
fabric: {shape: leaf-spine, leaves: 4, spines: 2, subnet: 192.168.0.0/16}
nodes: 8
"""
    plain = drawn(dot(DESIGNS["l3-gateway"].plan(topology_of_text(text, "t.yaml").value)), "plain").decode()
    height = {name: float(y) for name, y in re.findall(r'^node "?(\w+)"? \S+ (\S+)', plain, re.MULTILINE)}
    for order in (
        ("node1", "rack1", "leaf1", "spine1", "leaf4", "rack4", "node4"),
        ("node5", "rack1"),
        ("rack4", "node8"),
    ):
        assert sorted(order, key=lambda name: -height[name]) == list(order)


@pytest.mark.parametrize("pair", pairs())
def test_in_the_picture_of_every_design_each_end_of_a_line_is_a_box(pair: str, dual_stack: Topology) -> None:
    text = dot(design_of(pair).plan(dual_stack))
    boxes = set(re.findall(r'^ +("[^"]+") \[', text, re.MULTILINE))
    ends = {end for line in re.findall(r'^ +("[^"]+") -- ("[^"]+") \[', text, re.MULTILINE) for end in line}
    assert ends and ends <= boxes
