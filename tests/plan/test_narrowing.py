"""Skipping identical objects in a comparison of plans does not change the result."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from testbed.designs import design_of
from testbed.plan.change import diff, touched
from testbed.plan.objects import LINKS, Plan, Veth
from testbed.spec.topology import Topology

DESIGNS = ("vxlan", "macvlan+l2", "flat-bridge+l2", "ipvlan-l3+host-routes", "weave-fastdp", "calico-ipip")


def variants(device: Any) -> Iterator[Any]:
    """Variants of the device: with a property that the kernel can change, and one that it cannot."""
    if isinstance(device, Veth):
        yield replace(device, a=replace(device.a, mtu=device.a.mtu + 1))
        yield replace(device, b=replace(device.b, index=device.b.index + 1000))
        return
    yield replace(device, mtu=device.mtu + 1)
    yield replace(device, index=device.index + 1000)


def without(plan: Plan, place: str) -> Plan:
    """The plan without a space and its devices."""
    return replace(
        plan,
        spaces=tuple(space for space in plan.spaces if space.name != place),
        veths=tuple(veth for veth in plan.veths if place not in (veth.a.space, veth.b.space)),
        children=tuple(child for child in plan.children if place not in (child.space, child.node)),
    )


def altered(plan: Plan) -> Iterator[Plan]:
    """The plan with one space or device removed, or one device changed; all other objects are identical."""
    for number, space in enumerate(plan.spaces):
        rest = plan.spaces[:number], plan.spaces[number + 1 :]
        yield without(plan, space.name)
        for place, item in enumerate(space.objects):
            if isinstance(item, LINKS):
                for instead in ((), *((other,) for other in variants(item))):
                    objects = (*space.objects[:place], *instead, *space.objects[place + 1 :])
                    yield replace(plan, spaces=(*rest[0], replace(space, objects=objects), *rest[1]))
    for field in ("veths", "children"):
        devices = getattr(plan, field)
        for number, device in enumerate(devices):
            for instead in ((), *((other,) for other in variants(device))):
                yield replace(plan, **{field: (*devices[:number], *instead, *devices[number + 1 :])})


@pytest.mark.parametrize("name", DESIGNS)
def test_identical_objects_do_not_affect_the_difference(name: str, two_nodes: Topology) -> None:
    plan = design_of(name).plan(two_nodes)
    copy = deepcopy(plan)
    assert touched(plan, plan) == ()
    assert set(touched(copy, plan)) == {space.name for space in plan.spaces}
    for other in altered(plan):
        assert diff(plan, other) == diff(copy, other)
        assert diff(other, plan) == diff(other, copy)
