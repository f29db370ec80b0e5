"""Remove what the new plan does not have: entries, settings, devices. What is already missing is no error."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from testbed.kernel import encode
from testbed.kernel.changes import Changes, numbers
from testbed.kernel.datapath import remove_datapath
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import remove, send
from testbed.kernel.refusal import Namespaces, inside
from testbed.kernel.sysctls import Sysctls
from testbed.kernel.unlinking import unlink
from testbed.plan.messages import IndexOf, Request
from testbed.plan.objects import LOCAL_TABLE, Child, Datapath, Device, Link, Plan, RoutingRule, Sysctl, Veth
from testbed.plan.objects.kinds import KINDS


def remove_all(changes: Changes, old: Plan, new: Plan, namespaces: Namespaces) -> None:
    for name, work in changes.works.items():
        if gone := [item for item in work.removed if type(item) in KINDS]:
            with inside(name, namespaces):
                remove(_removals(gone, numbers(old, name)))
        if settings := [item for item in work.removed if isinstance(item, Sysctl)]:
            _reset(name, settings, namespaces)
    gone_from: dict[str, list[Device]] = {}
    for space, item in changes.going:
        if isinstance(item, Datapath):
            with inside(space, namespaces):
                remove_datapath(item)
            continue
        place, device = _end_to_remove(new, space, item)
        gone_from.setdefault(place, []).append(device)
    for name, devices in gone_from.items():
        with inside(name, namespaces):
            unlink(devices)
    _keep_mtus(changes, new, namespaces)


def _removals(items: Sequence[Any], index_of: IndexOf) -> Iterator[Request]:
    """Requests that remove the items, the last kind first."""
    for kind in reversed(tuple(KINDS.values())):
        yield from (kind.remove(item, index_of) for item in items if type(item) is kind.type)
        if kind.type is RoutingRule:
            local = [item for item in items if isinstance(item, RoutingRule) and item.table == LOCAL_TABLE]
            yield from (kind.make(replace(rule, priority=0), index_of) for rule in local)


def _end_to_remove(new: Plan, space: str, item: Link | Veth | Child) -> tuple[str, Device]:
    """The space and device to remove: of a pair an end whose space stays, so that pairs of many pods are one batch."""
    if isinstance(item, Veth):
        end = next((end for end in (item.a, item.b) if new.has(end.space)), item.a)
        return end.space, end
    return space, item


def _keep_mtus(changes: Changes, new: Plan, namespaces: Namespaces) -> None:
    """Fix the MTU of bridges that lose a port: a bridge whose MTU was never set adapts it to its ports."""
    bridges: dict[str, set[str]] = {}
    for _, item in changes.going:
        for end in (item.a, item.b) if isinstance(item, Veth) else ():
            if end.master and new.has(end.space):
                bridges.setdefault(end.space, set()).add(end.master)
    for name, names in bridges.items():
        there = [device for dev in names if (device := new.devices_of(name).get(dev))]
        fresh = {link.name for link in changes.links.get(name, ())}
        with inside(name, namespaces):
            # Twice: setting the current MTU has no effect.
            send(
                encode.set_link(device.index, mtu=size)
                for device in there
                if device.name not in fresh
                for size in (device.mtu + 1, device.mtu)
            )


def _reset(name: str, settings: Sequence[Sysctl], namespaces: Namespaces) -> None:
    """Reset sysctls to the values of a new namespace."""
    own = [item for item in settings if not item.dev]
    fresh = Namespace.create()
    try:
        with fresh.entered(), Sysctls() as reading:
            values = reading.values(own)
    finally:
        fresh.close()
    with inside(name, namespaces), Sysctls() as writing:
        writing.write(replace(item, value=values[item.key]) for item in own if item.key in values)
