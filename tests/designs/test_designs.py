"""Compares every design's plan with a golden file, and checks invariants of all plans."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from testbed.designs import DESIGNS, PLAIN, Design
from testbed.designs.attachments.routed import HOST_MAC
from testbed.plan.objects import DeviceAddress, FdbEntry, Kind, Neighbour, Netem, Plan, Route, TokenBucket
from testbed.plan.shell import script
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
TOPOLOGIES = ROOT / "topologies"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
"""UPDATE_GOLDEN=1 rewrites the golden files; read the difference before you commit it."""

every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
every_plain_design = pytest.mark.parametrize("design", list(PLAIN))
every_preset = pytest.mark.parametrize("design", [name for name in DESIGNS if name not in PLAIN])


def topology_named(name: str) -> Topology:
    return load_topology(TOPOLOGIES / f"{name}.yaml").value


def as_golden(plan: Plan, file: Path) -> None:
    """Paths of the testbed's own programs are relative to the repository."""
    text = script(plan).replace(f"{ROOT}/", "")
    if UPDATE:
        file.write_text(text)
    assert text == file.read_text()


@every_plain_design
@pytest.mark.parametrize("topology", ["two-nodes", "dual-stack", "shaped"])
def test_the_plan_is_the_golden_one(design: str, topology: str) -> None:
    as_golden(DESIGNS[design].plan(topology_named(topology)), GOLDEN / f"{topology}-{design}.sh")


@every_preset
def test_the_plan_of_a_preset_is_the_golden_one(design: str) -> None:
    as_golden(DESIGNS[design].plan(topology_named("two-nodes")), GOLDEN / "cnis" / f"{design}.sh")


def plans(design: Design) -> Iterator[Plan]:
    """Plans of all shipped topologies that the design fits."""
    for file in sorted(TOPOLOGIES.glob("*.yaml")):
        topology = load_topology(file).value
        if next(design.misfits(topology), None) is None:
            yield design.plan(topology)


@every_design
def test_the_design_fits_some_topology(design: Design) -> None:
    assert any(plans(design))


@every_design
def test_device_numbers_are_unique_over_the_whole_plan(design: Design) -> None:
    """Equal numbers at both ends of a veth cost a second, and the kernel rejects duplicates in a namespace."""
    for plan in plans(design):
        numbers = Counter(device.index for space in plan.spaces for device in plan.devices_of(space.name).values())
        assert max(numbers.values()) == 1
        assert min(numbers) > 100


@every_design
def test_objects_refer_to_existing_devices(design: Design) -> None:
    for plan in plans(design):
        for space in plan.spaces:
            devices = plan.devices_of(space.name)
            used = chain(
                space.of(DeviceAddress), space.of(Neighbour), space.of(FdbEntry), space.of(TokenBucket), space.of(Netem)
            )
            assert {item.dev for item in used} <= {*devices, "lo"}
            assert {dev for route in space.of(Route) for dev in route.devices} <= set(devices)
        for end in chain.from_iterable((veth.a, veth.b) for veth in plan.veths):
            assert end.master is None or end.master in plan.devices_of(end.space)


@every_design
def test_no_two_devices_share_a_mac_address(design: Design) -> None:
    """Except the node's ends of Calico's pods, which all have the same address."""
    for plan in plans(design):
        macs = Counter(device.mac for space in plan.spaces for device in plan.devices_of(space.name).values())
        assert {mac for mac, times in macs.items() if times > 1} <= {"", HOST_MAC}


@every_design
def test_every_pod_of_the_topology_has_a_namespace(design: Design) -> None:
    for plan in plans(design):
        topology = topology_named(plan.topology)
        assert {space.name for space in plan.of_kind(Kind.POD)} == set(topology.pod_ids)
        assert {space.name for space in plan.of_kind(Kind.NODE)} == set(topology.nodes)


def test_vxlan_leaves_room_for_its_headers(two_nodes: Topology, dual_stack: Topology) -> None:
    """RFC 7348: outer IP, UDP 8, VXLAN 8, inner Ethernet 14."""
    assert DESIGNS["vxlan"].pod_mtu(two_nodes) == 1500 - 50
    assert DESIGNS["vxlan"].pod_mtu(dual_stack) == 1500 - 70


def test_the_routed_designs_are_equal_on_a_node(two_nodes: Topology) -> None:
    """Differences measured on one node therefore cannot come from the design."""
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
