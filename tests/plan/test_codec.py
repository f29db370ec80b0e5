"""Plans as JSON and back: the same plan, or an error with the location and the reason."""

import json
import os
from dataclasses import is_dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.designs import DESIGNS
from testbed.plan import objects
from testbed.plan.codec import BadPlan, object_from, plan_from, plan_of_text, to_data, to_text
from testbed.plan.objects import Plan, Route, Space, TunnelKey
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

GOLDEN = Path(__file__).parent / "golden" / "two-nodes-vxlan.json"
SHIPPED = Path(__file__).parents[2] / "topologies"
TOPOLOGIES = [
    SHIPPED / f"{name}.yaml" for name in ("two-nodes", "dual-stack", "ipv6-only", "named", "dual-homed", "wan")
]
"""One of each kind."""
SPACE = get_type_hints(Space)
KINDS = [kind for kind in vars(objects).values() if is_dataclass(kind)]


def whole(**spoilt: Any) -> str:
    """A plan as JSON, with changed fields of the plan or of its only space."""
    space = {"name": "node1", "kind": "node"} | {key: value for key, value in spoilt.items() if key in SPACE}
    plan = {"topology": "t", "design": "d", "pod_mtu": 1450, "spaces": [space], "veths": []}
    return json.dumps(plan | {key: value for key, value in spoilt.items() if key not in SPACE})


def any_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field, including nested dataclasses."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return st.deferred(
            lambda: st.builds(annotation, **{f: any_of(t) for f, t in get_type_hints(annotation).items()})
        )
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(any_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(any_of, arguments))
    if arguments and origin is not None and origin.__name__ in ("Union", "UnionType"):
        return st.one_of(*map(any_of, arguments))
    return st.floats(allow_nan=False) if annotation is float else st.from_type(annotation)


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_the_plan_of_every_preset_survives_a_round_trip(file: Path) -> None:
    topology = load_topology(file).value
    plans = [design.plan(topology) for design in DESIGNS.values() if not any(design.misfits(topology))]
    assert plans
    for plan in plans:
        assert plan_of_text(to_text(plan)) == plan


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_objects_of_every_kind_survive_a_round_trip(kind: type, data: st.DataObject) -> None:
    value = data.draw(any_of(kind))
    found: object = object_from(kind, json.loads(json.dumps(to_data(value))))
    assert found == value
    assert type(found) is kind


def test_a_plan_equals_its_golden_file(two_nodes: Topology) -> None:
    text = json.dumps(to_data(DESIGNS["vxlan"].plan(two_nodes)), indent=2) + "\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert plan_of_text(GOLDEN.read_text()) == DESIGNS["vxlan"].plan(two_nodes)


def test_fields_with_their_default_are_left_out() -> None:
    assert to_data(Route(ip_network("10.0.0.0/8"), "eth0")) == {"to": "10.0.0.0/8", "dev": "eth0"}


def test_an_object_of_several_possible_kinds_has_its_type() -> None:
    way = Route(ip_network("10.0.0.0/8"), "t", encap=TunnelKey(7, ip_address("192.0.2.1"), ip_address("192.0.2.2")))
    assert to_data(way)["encap"] == {"type": "TunnelKey", "number": 7, "source": "192.0.2.1", "target": "192.0.2.2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "plan: not valid JSON: "),
        ("[" * 100_000, "plan: not valid JSON: "),
        ("[]", "plan: expected an object, found []"),
        ("{}", "plan: Plan: topology, design, pod_mtu, spaces, veths missing"),
        (whole(design=7), "plan.design: expected a text, found 7"),
        (whole(offload=1), "plan.offload: expected true or false, found 1"),
        (whole(colour="red"), "plan.colour: unknown field of Plan"),
        (whole(kind="lake"), "plan.spaces[0].kind: expected one of node, pod, switch, router, cable, found "),
        (whole(reached_at=["192.0.2.1", "192.0.2"]), "plan.spaces[0].reached_at[1]: expected an IP address, found "),
        (whole(reached_at=["192.0.2.1", 1]), "plan.spaces[0].reached_at[1]: expected an IP address, found 1"),
        (
            whole(objects=[{"type": "Lake"}]),
            "plan.spaces[0].objects[0]: expected an object with the type Bridge or Vxlan or ",
        ),
        (whole(pod_mtu="1450"), "plan.pod_mtu: expected a number, found "),
        (whole(objects=[{"type": "Tun", "name": "t", "index": 1}]), "plan.spaces[0].objects[0]: Tun: mtu missing"),
    ],
)
def test_an_invalid_plan_is_reported_with_its_location(text: str, message: str) -> None:
    with pytest.raises(BadPlan) as error:
        plan_of_text(text)
    assert str(error.value).startswith(message)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(data=st.data())
@settings(deadline=None)
def test_modified_data_is_a_plan_or_raises_bad_plan(two_nodes: Topology, data: st.DataObject) -> None:
    spoilt = to_data(DESIGNS["cilium-vxlan"].plan(two_nodes))
    at: Any = spoilt
    while True:
        steps = list(at) if isinstance(at, dict) else list(range(len(at)))
        step = data.draw(st.sampled_from(steps))
        if not isinstance(at[step], dict | list) or not at[step] or data.draw(st.booleans()):
            break
        at = at[step]
    if data.draw(st.booleans()):
        del at[step]
    else:
        at[step] = data.draw(ANYTHING)
    try:
        found = plan_from(spoilt)
    except BadPlan:
        return
    assert isinstance(found, Plan)
    assert plan_from(to_data(found)) == found
