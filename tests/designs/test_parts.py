"""Plans that reuse parts of the previous plan equal plans made from its allocation alone.

Pods and nodes are added and removed at random, and links change. After each step both plans, and their differences from
the previous plan, are compared.
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
"""Changes of pods are the most frequent, so that parts are reused several times."""
STEPS = st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 60)), min_size=2, max_size=6)


def covering() -> list[str]:
    """Every preset, and pairs that cover each attachment and each transport."""
    covered: set[str] = set()
    chosen = []
    for pair in pairs():
        if not covered.issuperset(pair.split("+")):
            covered.update(pair.split("+"))
            chosen.append(pair)
    return [*DESIGNS, *chosen]


def first_topology(design: Design, number: int) -> Topology:
    """A topology that fits, dual-stack if possible; fabrics are assigned round-robin."""
    texts = list(FABRICS.values())
    ordered = texts[number % len(texts) :] + texts[: number % len(texts)]
    topologies = (topology_of_text(text.format(fabric=it), "t.yaml").value for text in (TEXT, IPV4) for it in ordered)
    return next(topology for topology in topologies if not list(design.misfits(topology)))


def replan(design: Design, topology: Topology, before: Plan) -> Plan:
    """The plan made from the plan `before`, compared with one made from its allocation. Raises Exhausted."""
    fresh = design.plan(topology, before=before.allocation)
    made = design.plan(topology, before=before)
    assert made == fresh
    assert diff(before, made) == diff(before, fresh)
    for space in fresh.spaces:
        assert made[space.name] == space
        assert list(made.devices_of(space.name).items()) == list(fresh.devices_of(space.name).items())
    assert not any(made.has(space.name) and not fresh.has(space.name) for space in before.spaces)
    return made


@pytest.mark.parametrize(("number", "name"), [*enumerate(covering())])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_a_plan_with_reused_parts_equals_a_fresh_one(number: int, name: str, changes: list[tuple[str, int]]) -> None:
    design = design_of(name)
    topology = first_topology(design, number)
    plan = design.plan(topology)
    for change, which in changes:
        try:
            topology = step(topology, change, which)
            plan = replan(design, topology, plan)
        except (EditError, Exhausted):
            continue


@pytest.mark.parametrize("name", [name for name in covering() if not name.startswith(("cilium", "weave"))])
def test_a_pod_changes_only_its_node(name: str) -> None:
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


def test_numbers_of_reused_parts_are_not_allocated_again() -> None:
    design = design_of("vxlan")
    topology = topology_of_text(IPV4.format(fabric=FABRICS["one-subnet"]), "t.yaml").value
    first = design.plan(topology)
    second = design.plan(without_pod(topology, "a"), before=first)
    third = design.plan(topology, before=second)
    assert third["a"].reached_at != first["a"].reached_at
    used = {device.index for space in first.spaces for device in first.devices_of(space.name).values()}
    assert third.device("a", "eth0").index not in used
