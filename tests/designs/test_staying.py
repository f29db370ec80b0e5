"""Addresses and numbers stay: nodes and pods that are in two plans of a lab have the same values in both.

Pods and nodes are added and removed at random. After each step no remaining address, index, number or key name has
changed, no two are equal, and released values are not allocated to others while there are unused ones.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.designs import DESIGNS, design_of
from testbed.designs.design import Design
from testbed.designs.presets.cilium.maps import identity
from testbed.designs.presets.weave import fastdp
from testbed.designs.transports import ipsec, srv6
from testbed.plan.addressing import Layout
from testbed.plan.allocation import Exhausted
from testbed.plan.objects import Esp, File, Kind, Plan
from testbed.plan.pods import POD_INTERFACE
from testbed.spec.edit import EditError, with_link, with_node, with_pod, without_node, without_pod
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Node, Topology

TEXT = """name: staying
cluster: {{pod_cidr: [10.244.0.0/16, "fd00:10:244::/48"]}}
fabric: {fabric}
nodes: {{node1: {{pods: 2}}, node2: {{pods: [a, b]}}, node3: {{pods: [c]}}}}
"""
RANGES = '[192.168.0.0/16, "fd00:1::/48"]'
FABRICS = {
    "one-subnet": f"{{subnet: {RANGES}}}",
    "subnets": f"{{shape: subnets, subnets: 2, subnet: {RANGES}}}",
    "leaf-spine": f"{{shape: leaf-spine, leaves: 3, spines: 2, subnet: {RANGES}}}",
    "dual-homed": f"{{shape: leaf-spine, leaves: 4, spines: 1, homes: 2, subnet: {RANGES}}}",
    "wan": f"{{shape: wan, sites: 3, subnet: {RANGES}, wan: {{delay: 5ms}}}}",
    "named": """
  switches: {rack1: {subnet: [192.168.1.0/24, "fd00:1:1::/64"]}}
  routers: [r1, r2]
  links:
    - {ends: [node1, rack1]}
    - {ends: [node2, rack1], rate: 1Gbit}
    - {ends: [node3, r2]}
    - {ends: [r1, rack1]}
    - {ends: [r1, r2]}
""",
}
IPV4 = TEXT.replace('[10.244.0.0/16, "fd00:10:244::/48"]', "10.244.0.0/16")
CASES = [
    *(("vxlan", fabric) for fabric in FABRICS),
    *(("flannel-vxlan", fabric) for fabric in ("one-subnet", "leaf-spine")),
    *(("calico-bgp-tor", fabric) for fabric in ("leaf-spine", "dual-homed", "named")),
    *(("calico-bgp-rr", "one-subnet"), ("calico-vxlan", "wan")),
    *(("cilium-vxlan", "leaf-spine"), ("cilium-native", "one-subnet")),
    *(("weave-fastdp-encrypted", "subnets"), ("weave-sleeve", "one-subnet")),
    *(
        ("kube-router", "one-subnet"),
        ("bridge+srv6", "dual-homed"),
        ("bridge+ipsec", "wan"),
        ("macvlan+l2", "one-subnet"),
    ),
]
CHANGES = ("with_pod", "without_pod", "with_node", "without_node", "with_link")


def first_topology(design: Design, fabric: str) -> Topology:
    """Dual-stack, or IPv4 if the design supports nothing else."""
    topologies = (topology_of_text(text.format(fabric=FABRICS[fabric]), "t.yaml").value for text in (TEXT, IPV4))
    return next(topology for topology in topologies if not list(design.misfits(topology)))


def step(topology: Topology, change: str, which: int) -> Topology:
    """Applies one change; names are from a small set, so that some are used again later."""
    nodes, pods = list(topology.nodes), topology.pod_ids
    match change:
        case "with_pod":
            return with_pod(topology, f"x{which % 4}", nodes[which % len(nodes)], labels={"app": str(which % 3)})
        case "without_pod":
            return without_pod(topology, pods[which % len(pods)] if pods else "none")
        case "with_node":
            return with_node(topology, f"n{which % 3}", pods=[f"y{which % 4}"])
        case "without_node":
            return without_node(topology, nodes[which % len(nodes)])
    links = topology.underlay.links
    return with_link(topology, links[which % len(links)].ends, delay="3ms")


Value = tuple[str, object]
"""A value that was allocated, with its kind."""


def values(plan: Plan, layout: Layout) -> dict[tuple[str, ...], Value]:
    """Values that must be unique, by their owner and kind."""
    found: dict[tuple[str, ...], Value] = {}
    for space in plan.spaces:
        for dev, device in plan.devices_of(space.name).items():
            found[space.name, "index", dev] = ("index", device.index)
        for address in space.reached_at if space.kind is not Kind.ROUTER else ():  # A router may lose its first port.
            found[space.name, "reached at", str(address.version)] = ("address", address)
    for node in layout.nodes:
        for cidr in node.pod_cidrs:
            found[node.name, "share", str(cidr.version)] = ("share", cidr)
        found[node.name, "peer"] = ("peer", fastdp.number(node))
        found[node.name, "locator"] = ("locator", srv6.locator(node))
        found[node.name, "serial"] = ("serial", node.serial)
        for other in layout.nodes:
            found[node.name, "spi", other.name] = ("spi", ipsec.spi_of(node, other, 4))
        for pod in node.pods:
            found[pod.pod.id, "number"] = (f"pod of {node.number}", pod.number)
            if "cilium" in plan.design:
                labels = (pod.pod.namespace, *map(str, pod.pod.labels.items()))
                found[(*labels, "identity")] = ("identity", identity(pod.pod, plan.allocation))
    for router in layout.routers:
        found[router.name, "router"] = ("router", router.number)
        found[router.name, "serial"] = ("serial", router.serial)
    for place in (*layout.nodes, *layout.routers):
        for port in place.ports:
            for address in port.addresses:
                found[place.name, "port", port.plug, port.dev, str(address.version)] = ("port", address)
    return found


def router_ids(plan: Plan) -> Iterator[str]:
    """The router ids of BGP speakers."""
    for space in plan.spaces:
        for file in space.of(File):
            yield from re.findall(r"router id (.*);", file.text)


def macs(plan: Plan) -> list[str]:
    """MAC addresses of pods and nodes on shared Ethernets."""
    ends = (plan.devices_of(space.name).get(POD_INTERFACE) for space in plan.spaces)
    return [mac for end in ends if end and (mac := getattr(end, "mac", ""))]


@pytest.mark.parametrize(("name", "fabric"), CASES)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 60)), min_size=1, max_size=7))
def test_values_stay_and_freed_ones_are_recycled_last(name: str, fabric: str, changes: list[tuple[str, int]]) -> None:
    design = DESIGNS.get(name) or design_of(name)
    topology = first_topology(design, fabric)
    plan = design.plan(topology)
    had: dict[Value, tuple[str, ...]] = {}
    before: dict[tuple[str, ...], Value] = {}
    for change, which in [("", 0), *changes]:
        try:
            topology = step(topology, change, which) if change else topology
        except EditError:
            continue
        plan = design.plan(topology, before=plan.allocation)
        now = values(plan, design.lay_out(topology, plan.allocation))
        assert plan == design.plan(topology, before=plan.allocation)
        for key in now.keys() & before.keys():
            assert now[key] == before[key], (key, change, which)
        for key, value in now.items():
            # The value is new, or the owner had it before.
            assert had.get(value, key) == key, (value, key, had[value])
            assert key in before or value not in had, (value, key)
            had[value] = key
        assert len(set(now.values())) == len(now)
        assert len(set(macs(plan))) == len(macs(plan))
        spis = [esp.spi_out for space in plan.spaces for esp in space.of(Esp)]
        assert len(set(spis)) == len(spis)
        ids = list(router_ids(plan))
        assert len(set(ids)) == len(ids)
        before = now


LEAVES = """
  switches: {rack1: {subnet: 192.168.1.0/24}}
  routers: [r1, r2]
  links: [{ends: [node1, rack1]}, {ends: [node2, rack1]}, {ends: [node3, rack1]}, {ends: [r1, rack1]}, {ends: [r2, r1]}]
"""


def test_a_router_keeps_device_and_address_when_a_node_is_linked_to_it() -> None:
    design = DESIGNS["vxlan"]
    topology = topology_of_text(IPV4.format(fabric=LEAVES), "t.yaml").value
    before = design.plan(topology)
    after = design.plan(with_node(topology, "node4", pods=[], at="r2"), before=before.allocation)
    assert before.devices_of("r2").keys() == {"eth0"}
    assert after.devices_of("r2").keys() == {"eth0", "to-node4"}
    assert after.device("r2", "eth0") == before.device("r2", "eth0")
    assert after["r2"].reached_at == before["r2"].reached_at


@pytest.mark.parametrize(("name", "where"), [("vxlan", "(10.244.0.0/29)"), ("calico-vxlan", "(block 10.244.0.0/29)")])
def test_addresses_of_a_node_go_round(name: str, where: str) -> None:
    design = DESIGNS[name]
    text = IPV4.replace("pod_cidr: 10.244.0.0/16", "pod_cidr: 10.244.0.0/16, node_prefix: 29")
    topology = topology_of_text(text.format(fabric=FABRICS["one-subnet"]), "t.yaml").value
    plan = design.plan(topology)
    stays, addresses = plan["node1-pod-1"].reached_at, [plan["node1-pod-2"].reached_at]
    topology = without_pod(topology, "node1-pod-2")
    for number in range(20):
        topology = with_pod(topology, f"x{number}", "node1")
        plan = design.plan(topology, before=plan)
        assert plan["node1-pod-1"].reached_at == stays
        addresses.append(plan[f"x{number}"].reached_at)
        topology = without_pod(topology, f"x{number}")
        plan = design.plan(topology, before=plan)
    assert all(one != other for one, other in pairwise(addresses))
    assert {*addresses} == {*addresses[:6]} and len({*addresses}) == (4 if name == "vxlan" else 6)
    assert stays not in addresses


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        *((name, 4) for name in ("vxlan", "cilium-native", "kube-router", "weave-sleeve")),
        ("calico-bgp-tor", 16),  # Blocks of 64 addresses.
    ],
)
def test_numbers_of_nodes_go_round(name: str, ranges: int) -> None:
    text = IPV4.replace("pod_cidr: 10.244.0.0/16", "pod_cidr: 10.244.0.0/22")
    topology = topology_of_text(text.format(fabric=FABRICS["leaf-spine"]), "t.yaml").value
    design, two = DESIGNS[name], without_node(topology, "node3")
    plan, found = design.plan(two), []
    for number in range(ranges + 5):
        three = with_node(two, f"x{number}", pods=[f"y{number}"])
        plan = design.plan(three, before=plan)
        found.append(design.lay_out(three, plan.allocation).nodes[-1].pod_cidrs)
        assert "eth0" in plan.devices_of(f"x{number}")
        plan = design.plan(two, before=plan)
    assert all(one != other for one, other in pairwise(found)) and len({*found}) == ranges - len(two.nodes)


def test_a_node_without_free_ranges_says_so() -> None:
    text = IPV4.replace("pod_cidr: 10.244.0.0/16", "pod_cidr: 10.244.0.0/22")
    topology = topology_of_text(text.format(fabric=FABRICS["one-subnet"]), "t.yaml").value
    plan = DESIGNS["vxlan"].plan(with_node(topology, "node4"))
    wider = topology.model_copy(update={"nodes": {**topology.nodes, "node4": Node(), "node5": Node()}})
    with pytest.raises(Exhausted) as error:
        DESIGNS["vxlan"].plan(wider, before=plan)
    assert str(error.value) == (
        "no node range of 10.244.0.0/22 left: all 4 are in use; recreate the lab with a larger pod_cidr"
    )
