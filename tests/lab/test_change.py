"""After a change from one plan to another, the kernel's state equals that of a new lab of the latter plan."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from testbed.designs import design_of
from testbed.kernel.dumped import BUILT_IN
from testbed.kernel.offload import offloads_of
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect, state_for
from testbed.plan.objects import Plan
from testbed.plan.rulesets.transactions import TOOLS
from testbed.spec.topology import Topology
from tests.designs.looking import unbroken

pytestmark = pytest.mark.sealed

DESIGNS = (
    *("l3-host-routes", "vxlan", "l2", "routed+vxlan-learning", "macvlan+l2", "ptp+udp"),
    *("calico-vxlan", "calico-bgp", "weave-sleeve", "cilium-native", "flannel-vxlan", "kube-router"),
)
FABRICS: tuple[dict[str, Any], ...] = (
    {"subnet": "192.168.56.0/24"},
    {"subnet": "192.168.56.0/24", "mtu": 1400},
    {"subnet": "192.168.56.0/24", "rate": "1Gbit"},
    {"subnet": "192.168.56.0/24", "rate": "100Mbit"},
)


def topology(nodes: dict[str, list[str]], fabric: dict[str, Any]) -> Topology:
    return Topology.model_validate(
        {
            "name": "changing",
            "cluster": {"pod_cidr": "10.244.0.0/16"},
            "fabric": fabric,
            "nodes": {name: {"pods": pods} for name, pods in nodes.items()},
        }
    )


def held(lab: Lab) -> dict[str, Any]:
    """The kernel's state by place, without values that differ between labs."""
    found = {}
    for space in lab.plan.spaces:
        with lab.namespaces[space.name].entered():
            state = state_for(space)
            own = sorted(set(state.devices) - BUILT_IN)
            offloads = offloads_of(own)
        devices = {name: replace(state.devices[name], link_space=None) for name in own}
        for device in lab.plan.devices_of(space.name).values():
            if not device.mac:  # Chosen by the kernel.
                devices[device.name] = replace(devices[device.name], mac="")
        # The members of a set are unordered.
        rules = {
            backend: [sorted(lines(whole))]
            for backend, whole in state.rulesets.items()
            for lines in (TOOLS[backend].lines,)
        }
        found[space.name] = replace(state, devices=devices, rulesets=rules), offloads
    return found


def fresh(plan: Plan) -> dict[str, Any]:
    with Lab(plan) as lab:
        return held(lab)


def unlike(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The differences, one per line."""
    lines = [f"{name}: only in one of them" for name in found.keys() ^ wanted.keys()]
    for name in found.keys() & wanted.keys():
        (one, offloads), (other, wanted_offloads) = found[name], wanted[name]
        lines += [f"{name}: offload {key}" for key in offloads if offloads[key] != wanted_offloads.get(key)]
        for kind in one.objects:
            lines += [f"{name}: + {item}" for item in one.of(kind) - other.of(kind)]
            lines += [f"{name}: - {item}" for item in other.of(kind) - one.of(kind)]
        for field in fields(one):
            mine, its = getattr(one, field.name), getattr(other, field.name)
            if field.name != "objects" and mine != its:
                pairs = (
                    [(key, mine.get(key), its.get(key)) for key in {*mine, *its} if mine.get(key) != its.get(key)]
                    if isinstance(mine, dict)
                    else [(mine, its)]
                )
                lines += [f"{name}: {field.name} {pair}" for pair in pairs or [(mine, its)]]
    return lines


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    names = draw(st.lists(st.sampled_from(("n1", "n2", "n3")), min_size=1, max_size=3, unique=True))
    left = list(draw(st.permutations(("a", "b", "c", "d"))))
    nodes = {}
    for name in names:
        count = draw(st.integers(0, min(2, len(left))))
        nodes[name] = [left.pop() for _ in range(count)]
    return topology(nodes, draw(st.sampled_from(FABRICS)))


@pytest.mark.parametrize("design", DESIGNS)
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(topologies(), min_size=2, max_size=3))
def test_a_changed_lab_equals_a_new_one(design: str, steps: list[Topology]) -> None:
    plan = design_of(design).plan
    with Lab(plan(steps[0])) as lab:
        used_plugins = False
        for step in (*steps[1:], steps[0]):
            after = plan(step, before=lab.drawn)
            used_plugins |= bool(lab.drawn.plugged or after.plugged)
            lab.change(after)
            assert inspect(lab.plan, lab.namespaces, lab.ended()) == ()
            if not used_plugins:  # CNI plugins choose names and MAC addresses at random, and leave their bridge.
                assert unlike(held(lab), fresh(after)) == []


@pytest.mark.parametrize("design", DESIGNS)
def test_unchanged_pods_lose_no_packets(design: str) -> None:
    """While pods and nodes are added and removed, a ping every millisecond between two other pods is answered."""
    plan = design_of(design).plan
    fabric = FABRICS[0]
    steps = (
        topology({"n1": ["a"], "n2": ["b"]}, fabric),
        topology({"n1": ["a", "c"], "n2": ["b"], "n3": ["d"]}, fabric),
        topology({"n1": ["a"], "n2": ["b", "e"]}, fabric),
    )
    with Lab(plan(steps[0])) as lab:
        with unbroken(lab, "a", "b"):
            for step in steps[1:]:
                lab.change(plan(step, before=lab.drawn))
        assert inspect(lab.plan, lab.namespaces, lab.ended()) == ()
