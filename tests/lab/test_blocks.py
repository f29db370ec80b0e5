"""Calico's nodes get and release blocks in a living lab: pods are reached, and nothing is left of released blocks."""

import json

import pytest
from _pytest.mark import ParameterSet

from testbed.designs import design_of
from testbed.designs.presets.calico import blocks
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.spec.edit import with_pods
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Pod, Topology

pytestmark = pytest.mark.sealed

TEXT = """name: blocks
cluster: {pod_cidr: [10.244.0.0/16, "fd00:10:244::/48"]}
fabric: {subnet: [192.168.56.0/24, "fd00:1::/64"]}
nodes: {node1: {pods: [stays, x0]}, node2: {pods: [far]}}
"""


def fill(topology: Topology, count: int) -> Topology:
    """The topology with the pods x0 to x<count - 1> on node1."""
    wanted = {f"x{number}" for number in range(count)}
    there = {name for name in topology.pod_ids if name.startswith("x")}
    return with_pods(topology, there - wanted, {"node1": [Pod(name=name) for name in sorted(wanted - there)]})


def kernel_blocks(lab: Lab, node: str) -> set[str]:
    """The blocks in the main routing table of a node."""
    found = lab.run(node, ("ip", "-json", "-4", "route", "show")).stdout
    return {route["dst"] for route in json.loads(found) if route["dst"].endswith("/30")}


def designs() -> list[ParameterSet]:
    """Designs with their needs; those that need kernel modules run in the virtual machine."""
    found = []
    for name in ("calico-vxlan", "calico-bgp", "calico-ipip", "calico-wireguard"):
        needs = design_of(name).needs
        in_vm = [pytest.mark.vm] if {"ipip", "wireguard"} & {*needs} else []
        found.append(pytest.param(name, marks=[pytest.mark.needs(*needs), *in_vm]))
    return found


@pytest.mark.parametrize("name", designs())
def test_blocks_come_and_go(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BITS", 2)
    design, topology = design_of(name), topology_of_text(TEXT, "blocks.yaml").value
    first = design.plan(topology)
    with Lab(first) as lab:
        for count, found in ((3, 2), (6, 2), (9, 3), (4, 2), (1, 1)):
            topology = fill(topology, count)
            lab.change(design.plan(topology, before=lab.drawn))
            layout = design.lay_out(topology, lab.drawn.allocation)
            assert len(layout.nodes[0].ranges_of(4)) == found
            assert lab.plan["stays"].reached_at == first["stays"].reached_at
            assert inspect(lab.plan, lab.namespaces, lab.ended()) == ()
            verdict = check(design, topology, lab.plan, lab.namespaces)
            assert (verdict.failures, verdict.astray) == ((), ())
            assert (
                kernel_blocks(lab, "node1")
                == kernel_blocks(lab, "node2")
                == {str(cidr) for node in layout.nodes for cidr in node.ranges_of(4)}
            )
