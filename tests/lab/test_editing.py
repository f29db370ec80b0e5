"""Changes to running labs of every preset: after each change the lab passes all checks."""

from typing import Any

import pytest
from _pytest.mark import ParameterSet

from testbed.designs import DESIGNS, design_of
from testbed.kernel.features import FEATURES
from testbed.kernel.lacking import MachineLacks
from testbed.lab import editing
from testbed.lab.editing import edited
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.spec.topology import Topology
from tests.designs.looking import topology
from tests.designs.test_matrix import RARE

pytestmark = pytest.mark.sealed

IN_RACKS = ("calico-bgp-tor",)
"""Presets whose nodes have sessions with the routers of their racks."""
PAIRS = (
    "macvlan+l2",
    "routed+srv6",
    "ipvlan-l2+l2",
    "ipvlan-l3+host-routes",
    "bridge+geneve",
    "ptp+gre",
    "bridge+ipsec",
)


def chosen(design: str) -> Topology:
    """A topology that the design fits."""
    return topology("racks" if design in IN_RACKS else "dual-stack" if "srv6" in design else "two-nodes")


def designs() -> list[ParameterSet]:
    """Each design with its needs; those that need kernel modules run in the virtual machine."""
    found = []
    for name in (*DESIGNS, *PAIRS):
        needs = (*design_of(name).needs_on(chosen(name)), "tbf")
        marks = [pytest.mark.needs(*needs), *([pytest.mark.vm] if {*RARE, "openvswitch"} & set(needs) else [])]
        found.append(pytest.param(name, marks=marks))
    return found


class Edited:
    """A lab that follows the edits of its topology."""

    def __init__(self, design: str, topology: Topology, lab: Lab) -> None:
        self.design, self.lab, self.topology = design_of(design), lab, topology

    def edit(self, verb: str, **arguments: Any) -> None:
        self.topology, plan = edited(self.topology, self.design, self.lab.drawn, verb, arguments)
        self.lab.change(plan)

    def prove(self) -> None:
        """Check that all reach all by the design's way, and nothing differs from the plan."""
        lab = self.lab
        assert inspect(lab.plan, lab.namespaces, lab.ended()) == ()
        verdict = check(self.design, self.topology, lab.plan, lab.namespaces)
        assert (verdict.failures, verdict.astray) == ((), ())


@pytest.mark.parametrize("design", designs())
def test_pods_nodes_and_links_can_be_changed(design: str) -> None:
    before = chosen(design)
    nodes = list(before.nodes)
    with Lab(design_of(design).plan(before)) as lab:
        own = {pod: lab.plan[pod].reached_at for pod in before.pod_ids}
        edited = Edited(design, before, lab)
        edited.edit("pod add", name="late", node=nodes[1], namespace="shop", labels={"app": "web"})
        edited.edit("node add", name="fresh", pods=["one", "two"])
        edited.prove()
        assert {pod: lab.plan[pod].reached_at for pod in own} == own
        link = next(link for link in edited.topology.underlay.links if nodes[0] in link.ends)
        edited.edit("link set", ends=",".join(link.ends), rate="500Mbit")
        edited.prove()
        edited.edit("pod remove", name="late.shop")
        edited.edit("node remove", name=nodes[0])
        edited.prove()
        left = {pod: address for pod, address in own.items() if lab.plan.has(pod)}
        assert {pod: lab.plan[pod].reached_at for pod in left} == left


def test_a_link_is_not_changed_if_the_kernel_lacks_a_feature_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "missing_here", lambda names: tuple(FEATURES[name] for name in names))
    topology, design = chosen("vxlan"), design_of("vxlan")
    with pytest.raises(MachineLacks, match="the kernel has no netem: needs a kernel with CONFIG_NET_SCH_NETEM"):
        edited(topology, design, design.plan(topology), "link set", {"ends": "node1,fabric", "delay": "5ms"})
