"""Blocks of Calico's nodes follow from their pods.

A node has as few blocks as its pods need, pods keep their addresses, and each design has the routes to all blocks.
Most tests have blocks of four addresses, so that few pods fill them.
"""

import ipaddress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from testbed.designs import DESIGNS
from testbed.designs.bgp import CONFIGURATION
from testbed.designs.design import Design
from testbed.designs.presets.calico import blocks
from testbed.plan.addressing import NodePlace
from testbed.plan.allocation import Exhausted
from testbed.plan.change import touched
from testbed.plan.cluster import cluster_of
from testbed.plan.objects import File, LearnedRoute, Plan, Route, Wireguard
from testbed.spec.edit import EditError, with_node, with_pod, with_pods, without_node, without_pod
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Pod, Topology
from tests.designs.test_parts import replan
from tests.designs.test_staying import FABRICS, IPV4, TEXT

SIZE = 4
SLOTS = st.dictionaries(st.integers(0, 5), st.sets(st.integers(0, 40).map(str), max_size=SIZE - 1), max_size=4)
CHANGES = ("with_pod", "with_pod", "with_pod", "without_pod", "without_pod", "with_node", "without_node")
PRESETS = [name for name in DESIGNS if name.startswith("calico")]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four addresses."""
    monkeypatch.setattr(blocks, "BLOCK_BITS", 2)


def made(text: str = IPV4, fabric: str = "one-subnet") -> Topology:
    return topology_of_text(text.format(fabric=FABRICS[fabric]), "t.yaml").value


def fitting(design: Design) -> Topology:
    """A dual-stack topology if possible."""
    cases = (made(text, fabric) for text in (TEXT, IPV4) for fabric in ("one-subnet", "leaf-spine"))
    return next(topology for topology in cases if not list(design.misfits(topology)))


def more(topology: Topology, count: int, node: str = "node1") -> Topology:
    return with_pods(topology, (), {node: [Pod(name=f"more-{number}") for number in range(count)]})


def place(design: Design, topology: Topology, plan: Plan, node: str = "node1") -> NodePlace:
    (found,) = (place for place in design.lay_out(topology, plan.allocation).nodes if place.name == node)
    return found


def ranges(design: Design, topology: Topology, plan: Plan, node: str = "node1") -> list[str]:
    return [str(cidr) for cidr in place(design, topology, plan, node).ranges]


@given(st.lists(st.integers(0, 40).map(str), unique=True), SLOTS)
def test_pods_keep_their_block_and_others_fill_the_first_ones(pods: list[str], held: dict[int, set[str]]) -> None:
    assume(len({*(name for names in held.values() for name in names)}) == sum(map(len, held.values())))
    filled = blocks.fill(pods, held, SIZE)
    assert sorted(name for names in filled.values() for name in names) == sorted(pods)
    assert all(names or slot == blocks.HOME for slot, names in filled.items())
    rooms = {slot: SIZE - (slot == blocks.HOME) for slot in {*filled, *held, blocks.HOME}}
    assert all(len(names) <= rooms[slot] for slot, names in filled.items())
    for slot, names in held.items():
        assert names.intersection(pods) <= {*filled.get(slot, ())}
    # A block is added only when all that the node has are full.
    if filled.keys() - held.keys() - {blocks.HOME}:
        assert all(len(filled.get(slot, ())) == rooms[slot] for slot in {*held, blocks.HOME})


def changed(topology: Topology, change: str, which: int) -> Topology:
    nodes, pods = list(topology.nodes), topology.pod_ids
    match change:
        case "with_pod":
            return with_pods(topology, (), {nodes[which % len(nodes)]: [Pod(name=f"x{which}"), Pod(name=f"y{which}")]})
        case "without_pod":
            return without_pod(topology, pods[which % len(pods)] if pods else "none")
        case "with_node":
            return with_node(topology, f"n{which % 3}", pods=[f"z{which}-{number}" for number in range(which % 7)])
    return without_node(topology, nodes[which % len(nodes)])


@pytest.mark.parametrize("name", ["calico-vxlan", "calico-wireguard"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 60)), min_size=4, max_size=16))
def test_blocks_follow_the_pods(small_blocks: None, name: str, changes: list[tuple[str, int]]) -> None:
    design = DESIGNS[name]
    topology = made()
    plan = design.plan(topology)
    home = {node.name: node.pod_cidrs for node in design.lay_out(topology, plan.allocation).nodes}
    for change, which in changes:
        try:
            topology = changed(topology, change, which)
        except EditError:
            continue
        before, plan = plan, replan(design, topology, plan)
        layout = design.lay_out(topology, plan.allocation)
        found = [cidr for node in layout.nodes for cidr in node.ranges]
        assert len({*found}) == len(found)
        pods = {place.pod.id: place.addresses[0].ip for node in layout.nodes for place in node.pods}
        assert len({*pods.values()}) == len(pods)
        for node in layout.nodes:
            assert home.setdefault(node.name, node.pod_cidrs) == node.pod_cidrs
            assert len({place.number for place in node.pods}) == len(node.pods)
            own = [place.addresses[0].ip for place in node.pods]
            assert all(any(address in cidr for cidr in node.ranges) for address in own)
            assert all(any(address in cidr for address in own) for cidr in node.further_cidrs)
            assert node.pod_cidrs[0].network_address not in own
        assert all(plan[pod].reached_at == (address,) for pod, address in pods.items())
        stay = {*pods} & {space.name for space in before.spaces}
        homes = {place.pod.id: node.name for node in layout.nodes for place in node.pods}
        assert all(plan[pod].reached_at == before[pod].reached_at for pod in stay if before[pod].home == homes[pod])
        home = {name: cidrs for name, cidrs in home.items() if name in topology.nodes}


def test_the_64th_pod_of_a_node_gets_a_further_block_and_the_last_releases_it() -> None:
    design = DESIGNS["calico-vxlan"]
    topology = more(made(), 61)  # And two others.
    plan = design.plan(topology)
    first = {space.name: space.reached_at for space in plan.spaces}
    assert ranges(design, topology, plan) == ["10.244.0.0/26"]
    topology = with_pod(topology, "last", "node1")
    grown = design.plan(topology, before=plan)
    assert ranges(design, topology, grown) == ["10.244.0.0/26", "10.244.0.192/26"]
    assert [str(address) for address in grown["last"].reached_at] == ["10.244.0.192"]
    assert {**first, "last": grown["last"].reached_at} == {space.name: space.reached_at for space in grown.spaces}
    node1 = cluster_of(design.lay_out(topology, grown.allocation)).of("Node")["", "node1"]
    assert node1.body["spec"]["podCIDRs"] == ["10.244.0.0/26"]
    topology = without_pod(topology, "last")
    shrunk = design.plan(topology, before=grown)
    assert ranges(design, topology, shrunk) == ["10.244.0.0/26"]
    assert shrunk.spaces == plan.spaces


def test_a_new_lab_has_home_blocks_in_the_nodes_order_then_further_ones() -> None:
    topology = more(made(TEXT), 62)
    layout = blocks.lay_out(topology)
    assert [list(map(str, node.ranges)) for node in layout.nodes] == [
        ["10.244.0.0/26", "fd00:10:244::/122", "10.244.0.192/26", "fd00:10:244::c0/122"],
        ["10.244.0.64/26", "fd00:10:244::40/122"],
        ["10.244.0.128/26", "fd00:10:244::80/122"],
    ]
    assert [str(at) for at in layout.nodes[0].pods[-1].addresses] == ["10.244.0.192/26", "fd00:10:244::c0/122"]


def test_a_pod_replaced_in_one_change_keeps_the_further_block(small_blocks: None) -> None:
    design = DESIGNS["calico-vxlan"]
    topology = more(made(), 2)
    plan = design.plan(topology)
    after = with_pods(topology, ("more-1",), {"node1": [Pod(name="instead")]})
    replaced = design.plan(after, before=plan)
    assert ranges(design, after, replaced) == ranges(design, topology, plan)
    assert replaced["instead"].reached_at != plan["more-1"].reached_at
    assert {*touched(plan, replaced)} == {"node1", "more-1", "instead"}


def test_a_released_block_is_allocated_last(small_blocks: None) -> None:
    design = DESIGNS["calico-vxlan"]
    full = with_pod(made(), "p", "node1")
    plan, found = design.plan(full), []
    for number in range(3):
        topology = with_pod(full, f"x{number}", "node1")
        plan = design.plan(topology, before=plan)
        found.append(ranges(design, topology, plan)[-1])
        plan = design.plan(full, before=plan)
    assert found == ["10.244.0.12/30", "10.244.0.16/30", "10.244.0.20/30"]


@pytest.mark.parametrize("name", PRESETS)
def test_all_blocks_are_routed(small_blocks: None, name: str) -> None:
    """A blackhole on their node, and routes via one node, or encrypted for one, on the others."""
    design = DESIGNS[name]
    topology = more(fitting(design), 6)
    plan = design.plan(topology)
    node1 = place(design, topology, plan)
    families = sorted(cidr.version for cidr in node1.pod_cidrs)
    assert [len(node1.ranges_of(family)) for family in families] == [3] * len(families)
    assert {route.to for route in routes(plan, "node1") if route.blackhole} == {*node1.ranges}
    for other in ("node2", "node3"):
        for family in families:
            home, *further = node1.ranges_of(family)
            for table in {route.table for route in routes(plan, other) if route.to == home}:
                (own, *rest) = [
                    next(route for route in routes(plan, other) if (route.to, route.table) == (block, table))
                    for block in (home, *further)
                ]
                assert all((it.via, it.dev, it.nexthops) == (own.via, own.dev, own.nexthops) for it in rest)
    allowed = {cidr for device in plan["node2"].of(Wireguard) for peer in device.peers for cidr in peer.allowed}
    assert not allowed or allowed >= {*node1.ranges}
    for file in plan["node1"].of(File):
        if file.path == CONFIGURATION:
            assert all(f"route {block} blackhole;" in file.text for block in node1.ranges)


def routes(plan: Plan, place: str) -> list[Route]:
    return [*plan[place].of(Route), *(learned.route for learned in plan[place].of(LearnedRoute))]


def test_blocks_run_out() -> None:
    text = IPV4.replace("pod_cidr: 10.244.0.0/16", "pod_cidr: 10.244.0.0/24, node_prefix: 26")
    topology = topology_of_text(text.format(fabric=FABRICS["one-subnet"]), "t.yaml").value
    design = DESIGNS["calico-vxlan"]
    plan = design.plan(with_node(topology, "node4"))
    nodes = {**topology.nodes, "node4": topology.nodes["node3"].model_copy(update={"pods": 70})}
    with pytest.raises(Exhausted) as error:
        design.plan(topology.model_copy(update={"nodes": nodes}), before=plan)
    assert str(error.value) == (
        "no block of 10.244.0.0/24 left: all 4 are in use; remove pods, or recreate the lab with a larger pod_cidr"
    )
    assert ipaddress.ip_network("10.244.0.192/26") in design.lay_out(with_node(topology, "node4")).nodes[-1].ranges
