"""The devices of a lab for the result: MTU, queueing discipline, offloads."""

from typing import Any

from testbed.kernel.links import links
from testbed.kernel.offload import offloads_of
from testbed.lab.lab import Lab
from testbed.plan.objects import Plan, Veth, VethEnd


def devices(lab: Lab) -> list[dict[str, Any]]:
    """All devices of the lab, equal ones once: place and name of the first, and how many there are.

    Ready for JSON. `to` is the kind of place at the other end of a veth pair; `checksum` is transmit checksum offload.
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
            # Ends of veth pairs are named after their peer, so their names do not count.
            own_name = "" if isinstance(device, VethEnd) else state.name
            entry = alike.setdefault((own_name, *facts.values()), {"first": f"{space.name} {state.name}", "alike": 0})
            entry |= {"alike": entry["alike"] + 1} | facts
    return list(alike.values())


def _far_kinds(plan: Plan) -> dict[tuple[str, str], str]:
    """By end of a veth pair: the kind of place of the other end."""

    def kinds(veth: Veth) -> dict[tuple[str, str], str]:
        ends = ((veth.a, veth.b), (veth.b, veth.a))
        return {(end.space, end.name): plan[other.space].kind.value for end, other in ends}

    return {end: kind for veth in plan.veths for end, kind in kinds(veth).items()}
