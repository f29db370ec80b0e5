"""The devices of a lab as a part of the result: MTU, queueing discipline, offloads."""

from typing import Any

from testbed.kernel.links import links
from testbed.kernel.offload import offloads_of
from testbed.lab.lab import Lab
from testbed.plan.objects import Plan, Veth, VethEnd


def devices(lab: Lab) -> list[dict[str, Any]]:
    """Every device of the lab, those that are alike once: the first one's place and name, and how many there are.

    Ready for JSON. `to` is what a veth pair leads to; `checksum` is whether that of sent packets is left to the device.
    """
    far = _far_kinds(lab.plan)
    alike: dict[tuple[object, ...], dict[str, Any]] = {}
    for space in lab.plan.spaces:
        planned = lab.plan.devices_of(space.name)
        with lab.namespaces[space.name].entered():
            states = [state for state in links() if state.name in planned]
            offloads = offloads_of(state.name for state in states)
        for state in states:
            device = planned[state.name]
            facts: dict[str, Any] = {
                "of": space.kind.value,
                "kind": type(device).__name__.removesuffix("End").lower(),
                "to": far.get((space.name, state.name), ""),
                "mtu": state.mtu,
                "qdisc": state.qdisc,
                **offloads[state.name],
            }
            # A veth pair's end is named for what it leads to, so only the other devices are told apart by their names.
            own_name = "" if isinstance(device, VethEnd) else state.name
            entry = alike.setdefault((own_name, *facts.values()), {"first": f"{space.name} {state.name}", "alike": 0})
            entry |= {"alike": entry["alike"] + 1} | facts
    return list(alike.values())


def _far_kinds(plan: Plan) -> dict[tuple[str, str], str]:
    """By end of a veth pair: what kind of place the other end is in."""

    def kinds(veth: Veth) -> dict[tuple[str, str], str]:
        ends = ((veth.a, veth.b), (veth.b, veth.a))
        return {(end.space, end.name): plan[other.space].kind.value for end, other in ends}

    return {end: kind for veth in plan.veths for end, kind in kinds(veth).items()}
