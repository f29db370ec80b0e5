"""Every design's plan, held against a golden file and against what all plans must keep."""

import os
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.plan.objects import Kind, Plan
from testbed.plan.shell import script
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

GOLDEN = Path(__file__).parent / "golden"
TOPOLOGIES = Path(__file__).parents[2] / "topologies"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
"""UPDATE_GOLDEN=1 writes the golden files anew; read the difference before you commit it."""

every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
every_topology = pytest.mark.parametrize("topology", sorted(path.stem for path in TOPOLOGIES.glob("*.yaml")))


def topology_named(name: str) -> Topology:
    return load_topology(TOPOLOGIES / f"{name}.yaml").value


@every_design
@pytest.mark.parametrize("topology", ["two-nodes", "dual-stack", "shaped"])
def test_the_plan_is_the_golden_one(design: object, topology: str) -> None:
    plan = DESIGNS[design.name].plan(topology_named(topology))  # type: ignore[attr-defined]
    golden = GOLDEN / f"{topology}-{plan.design}.sh"
    if UPDATE:
        golden.write_text(script(plan))
    assert script(plan) == golden.read_text()


@pytest.fixture
def plan(design: object, topology: str) -> Plan:
    return DESIGNS[design.name].plan(topology_named(topology))  # type: ignore[attr-defined]


@every_design
@every_topology
def test_device_numbers_are_unique_over_the_whole_plan(plan: Plan) -> None:
    """Equal numbers at both ends of a veth would cost a second, and the kernel refuses two alike in a namespace."""
    numbers = Counter(device.index for space in plan.spaces for device in plan.devices_of(space.name).values())
    assert max(numbers.values()) == 1
    assert min(numbers) > 100


@every_design
@every_topology
def test_everything_refers_to_devices_that_are_there(plan: Plan) -> None:
    for space in plan.spaces:
        devices = plan.devices_of(space.name)
        used = chain(space.addresses, space.neighbours, space.fdb, space.token_buckets, space.netems)
        assert {item.dev for item in used} <= {*devices, "lo"}
        assert {dev for route in space.routes for dev in route.devices} <= set(devices)
    for end in chain.from_iterable((veth.a, veth.b) for veth in plan.veths):
        assert end.master is None or end.master in plan.devices_of(end.space)


@every_design
@every_topology
def test_no_two_devices_share_a_mac_address(plan: Plan) -> None:
    macs = Counter(dev.mac for space in plan.spaces for dev in plan.devices_of(space.name).values() if dev.mac)
    assert max(macs.values()) == 1


@every_design
@every_topology
def test_every_pod_of_the_topology_has_a_namespace(plan: Plan, topology: str) -> None:
    assert {space.name for space in plan.of_kind(Kind.POD)} == set(topology_named(topology).pod_ids)
    assert {space.name for space in plan.of_kind(Kind.NODE)} == set(topology_named(topology).nodes)


def test_vxlan_leaves_room_for_its_headers(two_nodes: Topology, dual_stack: Topology) -> None:
    """RFC 7348: outer IP, UDP 8, VXLAN 8, inner Ethernet 14."""
    assert DESIGNS["vxlan"].pod_mtu(two_nodes) == 1500 - 50
    assert DESIGNS["vxlan"].pod_mtu(dual_stack) == 1500 - 70


def test_the_routed_designs_are_alike_on_a_node(two_nodes: Topology) -> None:
    """So that a difference measured on the same node cannot come from the design."""
    one, other = (DESIGNS[name].plan(two_nodes) for name in ("l3-gateway", "l3-host-routes"))
    for pod in one.of_kind(Kind.POD):
        assert pod == other[pod.name]


def test_an_mtu_without_room_is_a_misfit(two_nodes: Topology) -> None:
    small = two_nodes.model_copy(update={"fabric": two_nodes.fabric.model_copy(update={"mtu": 600})})
    (misfit,) = DESIGNS["vxlan"].misfits(small)
    assert "550" in misfit.message
    assert "626" in misfit.message
    assert list(DESIGNS["l2"].misfits(small)) == []


def test_routing_ipv6_needs_a_fabric_with_ipv6(dual_stack: Topology) -> None:
    fabric = dual_stack.fabric.model_copy(update={"subnet": dual_stack.fabric.subnet[:1]})
    without = dual_stack.model_copy(update={"fabric": fabric})
    assert [misfit.loc for misfit in DESIGNS["l3-gateway"].misfits(without)] == [("fabric", "subnet")]
    assert list(DESIGNS["vxlan"].misfits(without)) == []
