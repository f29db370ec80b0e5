"""Plans that take over parts of the one before: the same as those that are made of nothing but its numbers.

Pods and nodes come and go at random, and links change. After each step the plan that is made of the one before equals
that which is made anew with the same numbers, and so does what changes from the plan before to either.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.designs import DESIGNS, design_of, pairs
from testbed.designs.design import Design
from testbed.plan.allocation import Exhausted
from testbed.plan.change import diff, touched
from testbed.plan.objects import Kind, Plan
from testbed.plan.parts import parts_of
from testbed.spec.edit import EditError, with_pod, without_pod
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Topology
from tests.designs.test_staying import FABRICS, IPV4, TEXT, step

CHANGES = ("with_pod", "without_pod", "with_pod", "without_pod", "with_node", "without_node", "with_link")
"""Pods come and go more often than all else, so that parts are taken over several times."""
STEPS = st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 60)), min_size=2, max_size=6)


def covering() -> list[str]:
    """Every preset, and so many pairs that each attachment and each transport is in one."""
    met: set[str] = set()
    chosen = []
    for pair in pairs():
        if not met.issuperset(pair.split("+")):
            met.update(pair.split("+"))
            chosen.append(pair)
    return [*DESIGNS, *chosen]


def first_topology(design: Design, number: int) -> Topology:
    """One that fits, dual-stack if there is such; designs take fabrics in turn."""
    texts = list(FABRICS.values())
    turned = texts[number % len(texts) :] + texts[: number % len(texts)]
    topologies = (topology_of_text(text.format(fabric=it), "t.yaml").value for text in (TEXT, IPV4) for it in turned)
    return next(topology for topology in topologies if not list(design.misfits(topology)))


def replanned(design: Design, topology: Topology, before: Plan) -> Plan:
    """The plan after one before, which is proven to be the one that is made anew. Raises Exhausted."""
    anew = design.plan(topology, before=before.allocation)
    made = design.plan(topology, before=before)
    assert made == anew
    assert diff(before, made) == diff(before, anew)
    for space in anew.spaces:
        assert made[space.name] == space
        assert list(made.devices_of(space.name).items()) == list(anew.devices_of(space.name).items())
    assert not any(made.has(space.name) and not anew.has(space.name) for space in before.spaces)
    return made


@pytest.mark.parametrize(("number", "name"), [*enumerate(covering())])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_a_plan_of_parts_is_the_plan(number: int, name: str, changes: list[tuple[str, int]]) -> None:
    design = design_of(name)
    topology = first_topology(design, number)
    plan = design.plan(topology)
    for change, which in changes:
        try:
            topology = step(topology, change, which)
            plan = replanned(design, topology, plan)
        except (EditError, Exhausted):
            continue


@pytest.mark.parametrize("name", [name for name in covering() if not name.startswith(("cilium", "weave"))])
def test_a_pod_touches_its_node_alone(name: str) -> None:
    design = design_of(name)
    topology = first_topology(design, 0)
    before = design.plan(topology)
    if parts_of(before) is None:
        assert "flat-bridge" in name
        return
    after = design.plan(with_pod(topology, "late", "node2"), before=before)
    assert set(touched(before, after)) == {"node2", "late"}
    gone = design.plan(without_pod(topology, "a"), before=before)
    assert set(touched(before, gone)) == {"node2", "a"}
    kept = [space for space in after.of_kind(Kind.NODE, Kind.POD) if space.name not in ("node2", "late")]
    assert all(space is before[space.name] for space in kept)


def test_a_number_that_a_part_has_had_is_not_given_out_again() -> None:
    design = design_of("vxlan")
    topology = topology_of_text(IPV4.format(fabric=FABRICS["one-subnet"]), "t.yaml").value
    first = design.plan(topology)
    second = design.plan(without_pod(topology, "a"), before=first)
    third = design.plan(topology, before=second)
    assert third["a"].reached_at != first["a"].reached_at
    had = {device.index for space in first.spaces for device in first.devices_of(space.name).values()}
    assert third.device("a", "eth0").index not in had
