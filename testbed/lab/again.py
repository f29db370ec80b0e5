"""Make again what no command can restore, since only the lab knows it: keys, secrets, programs of eBPF.

`process NAME`   a process of the plan, stopped if it still runs
`device NAME`    a tun device; a WireGuard device with its key, and the peers that know it; and what depends on it
`ipsec`          all associations of a node, with new keys at both ends
`programs`       the eBPF programs of a node

The lab is changed from the plan without these objects to the plan itself.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from testbed.kernel.apply import Applied
from testbed.lab.lab import Lab
from testbed.lab.programs import items as programs
from testbed.plan.change import without_devices
from testbed.plan.objects import Bpf, Esp, Plan, Space
from testbed.plan.shell import no_esp_words


class Wanted(NamedTuple):
    """What to make again in a place."""

    place: str
    kind: str
    name: str = ""


def wanted_in(data: Iterable[Any]) -> tuple[Wanted, ...]:
    """Read pairs of a place and words such as `process bird`."""
    return tuple(Wanted(str(place), *str(what).split(" ", 1)) for place, what in data)


def again(lab: Lab, wanted: Collection[Wanted]) -> None:
    """Raises PlanRefused, OSError."""
    plan = lab.plan
    known = [one for one in wanted if plan.has(one.place)]
    named = {(one.place, one.name) for one in known if one.kind == "process"}
    items = [item for item in programs(plan.spaces) if (item.place, item.program.name) in named]
    lab.programs.stop(items)
    without = _without(plan, known)
    if without is not plan:
        for space in plan.spaces:
            gone = set(space.of(Esp)) - set(without[space.name].of(Esp))
            # Some of them are missing, which is why they are made again.
            for words in (words for item in gone for words in no_esp_words(item)):
                lab.run(space.name, ["ip", *words.split()])
        Applied(without, plan).make(lab.namespaces, lab.places.roots())
    lab.programs.start(items)
    if items:
        lab.programs.converge(plan)


def _without(plan: Plan, wanted: Collection[Wanted]) -> Plan:
    spaces = {space.name: space for space in plan.spaces}
    keyed = {one.place for one in wanted if one.kind == "ipsec"}
    local = {item.local for place in keyed for item in plan[place].of(Esp)}
    for one in wanted:
        if one.kind in ("device", "programs"):
            spaces[one.place] = _less(spaces[one.place], one)
    for name, space in spaces.items() if keyed else ():
        esp = {item for item in space.of(Esp) if name in keyed or item.remote in local}
        if esp:
            spaces[name] = replace(space, objects=tuple(item for item in space.objects if item not in esp))
    same = all(spaces[space.name] is space for space in plan.spaces)
    return plan if same else replace(plan, spaces=tuple(spaces.values()))


def _less(space: Space, one: Wanted) -> Space:
    if one.kind == "programs":
        objects = [replace(item, hooks=()) if isinstance(item, Bpf) else item for item in space.objects]
    else:
        dependent = without_devices(space, {one.name})
        objects = [
            item for item in dependent.objects if getattr(item, "name", "") != one.name or item not in space.links
        ]
    return replace(space, objects=tuple(objects))
