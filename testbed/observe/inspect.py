"""Compare a living lab with its plan: each difference, and the commands that fix it.

The commands of all differences are to run once, in their order. Consequences of another difference are left out: the
other end of a deleted pair, the connected route of an unexpected address, or the one missing while its device is down.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from testbed.kernel.others.settings import writing
from testbed.kernel.refusal import Namespaces
from testbed.kernel.rulesets import to_list
from testbed.kernel.state import State, connected, state
from testbed.observe.devices_compared import Found, compared
from testbed.observe.lost import Lost, without
from testbed.observe.programmed import programmed
from testbed.plan import shell
from testbed.plan.change import without_devices
from testbed.plan.objects import (
    LOCAL_TABLE,
    Command,
    CutRoute,
    DeviceAddress,
    Esp,
    Object,
    Other,
    Plan,
    Program,
    Route,
    RoutingRule,
    Space,
    Sysctl,
)
from testbed.plan.objects.addresses import ADDRESSES
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.routes import ROUTES, destination_words, ordered, way_words
from testbed.plan.objects.rules import RULES
from testbed.plan.rulesets import Ruleset

T = TypeVar("T", bound=Object)

_LEAST_MTU_6, _CARRIER_S = 1280, 1.1
_APART = (ADDRESSES, ROUTES, RULES)
"""Addresses are compared first; of routes and rules the kernel adds some itself."""
NOT_COMPARED = (
    "learned neighbours and FDB entries, connection tracking, offloads of existing devices, files, sysctls that do not "
    "decide what becomes of packets, and what eBPF programs write to their maps"
)


@dataclass(frozen=True)
class Difference:
    """One object in one place that differs from the plan."""

    place: str
    what: str
    mend: tuple[str, ...]
    """The commands that fix it, to run in that place; empty if there are none. `ip -n` finds other places by name."""
    again: str = field(default="", compare=False)
    """If no command fixes it: what the lab itself must make again (`testbed inspect --mend`), such as `device wg0`."""


def inspect(plan: Plan, namespaces: Namespaces, ended: Iterable[tuple[str, str, str]] = ()) -> tuple[Difference, ...]:
    """Compare every namespace with the plan. The processes that `ended` (see `Lab.ended`) come first.

    The commands work in the order of the differences: devices of all namespaces first.
    """
    states = {}
    for space in plan.spaces:
        with namespaces[space.name].entered():
            states[space.name] = state_for(space)
    lost = Lost(plan, states)
    found = [*compared(lost)]
    for space in plan.spaces:
        found += _entries(lost, space)
    stopped = [_of_process(*one) for one in ended]
    known = {(one.place, one.again) for one in stopped}
    return (*stopped, *(Difference(*one) for one in found if (one.space, one.again) not in known or not one.again))


def state_for(space: Space) -> State:
    """The state of the calling thread's namespace, as far as the plan of this space covers it."""
    wanted = space.of(Sysctl), to_list(space.of(Ruleset)), space.bpf
    now = state(*wanted)
    if any(one.what == "bridge port disabled" or one.what.startswith("local route to ") for one in now.others):
        # The kernel may notice the carrier of a new device a second late: a bridge then enables its port, and an
        # address of IPv6 gets its local route.
        time.sleep(_CARRIER_S)
        return state(*wanted)
    return now


def differences(plan: Plan, space: Space, now: State) -> Iterator[Difference]:
    """The differences in one namespace, devices first, since the rest depends on them."""
    lost = Lost(plan, {space.name: now})
    yield from (Difference(*found) for found in (*compared(lost), *_entries(lost, space)))


def _of_process(place: str, what: str, mend: str) -> Difference:
    return Difference(place, what, (mend,) if mend else (), "" if mend else f"process {what.split()[1]}")


def _entries(lost: Lost, whole: Space) -> Iterator[Found]:
    """The differences in one namespace except its devices, in an order in which the commands work."""
    gone = lost.gone(whole.name)
    now = without(lost.states[whole.name], gone, whole, lost.plan.devices_of(whole.name))
    space = without_devices(whole, lost.by_lab(whole.name))
    finding = (
        *_settings(space, now),
        *_others(space, now),
        *_addresses(space, now),
        *_routes(space, now),
        *_rules(space, now),
        *(one for kind in KINDS.values() if kind not in _APART for one in _objects(kind, space, now)),
    )
    yield from (Found(space.name, what, tuple(mend)) for what, mend in finding)
    yield from _ipsec(space, now)
    yield from (Found(space.name, what, commands, again) for what, commands, again in programmed(space, now))
    for program in space.of(Program):
        if held := gone & set(program.devices):
            what = f"process {program.name} holds the deleted device {', '.join(sorted(held))}"
            yield Found(space.name, what, (), f"process {program.name}")


Finding = tuple[str, tuple[str, ...]]
"""A difference, and the commands that fix it."""


def _objects(kind: ObjectKind[T], space: Space, now: State) -> Iterator[Finding]:
    """Unexpected objects first, as they may be in the way of others."""
    there = {kind.key(item): item for item in now.of(kind.type)}
    planned = {kind.key(item) for item in space.of(kind.type)}
    for item in sorted((item for key, item in there.items() if key not in planned), key=str):
        yield kind.describe(None, item), (kind.words(item, "del"),)
    for item in space.of(kind.type):
        other = there.get(kind.key(item))
        if other != item:
            yield kind.describe(item, other), (kind.words(item, "replace" if other else kind.restored_by),)


def _addresses(space: Space, now: State) -> Iterator[Finding]:
    """Addresses of IPv6 have no second prefix length, so that unexpected ones are removed first.

    The kernel removes an IPv4 address and its routes with another one of the same subnet that was there before, so that
    they are restored.
    """
    planned = {ADDRESSES.key(item) for item in space.of(DeviceAddress)}
    extra = sorted((item for item in now.of(DeviceAddress) if ADDRESSES.key(item) not in planned), key=str)
    deletions = [(item, (ADDRESSES.describe(None, item), _without_address(space, item, now))) for item in extra]
    yield from (finding for item, finding in deletions if item.interface.version == 6)
    there = {ADDRESSES.key(item): item for item in now.of(DeviceAddress)}
    for item in space.of(DeviceAddress):
        other = there.get(ADDRESSES.key(item))
        if other != item:
            yield ADDRESSES.describe(item, other), (ADDRESSES.words(item, "replace" if other else "add"),)
    yield from (finding for item, finding in deletions if item.interface.version == 4)


def _without_address(space: Space, extra: DeviceAddress, now: State) -> tuple[str, ...]:
    beside = [
        item
        for item in space.of(DeviceAddress)
        if item.dev == extra.dev and item.interface.network == extra.interface.network and extra.interface.version == 4
    ]
    through = [item for item in space.of(Route) if extra.dev in item.devices and item.to.version == 4]
    # With its last IPv4 address a device loses its routes.
    is_last = all(item.dev != extra.dev or item.interface.version != 4 for item in space.of(DeviceAddress))
    routes = [item for item in through if ordered(item) in now.of(Route)] if beside or is_last else []
    return (
        ADDRESSES.words(extra, "del"),
        *(ADDRESSES.words(item, "replace") for item in beside),
        *(ROUTES.words(item, "replace") for item in sorted(routes, key=_gateways_first)),
    )


def _gateways_first(route: Route) -> tuple[bool, str]:
    """The route to a gateway comes before the routes via it."""
    return route.via is not None or bool(route.nexthops), str(route)


def _routes(space: Space, now: State) -> Iterator[Finding]:
    working = {name for name, device in now.devices.items() if device.up}
    own = [item for item in space.of(DeviceAddress) if item in now.of(DeviceAddress) and item.dev in working]
    planned = {*map(ordered, space.of(Route)), *map(ordered, space.learned), *connected(own)}
    planned -= {item.route for item in space.of(CutRoute)}
    follows = {*connected(now.of(DeviceAddress)), *connected(space.of(DeviceAddress))}
    missing, extra = planned - now.of(Route), set(now.of(Route) - planned - follows)
    awaited = {str(route.to) for route in missing if route in space.learned}
    for refusal in sorted(now.refusals):
        deletion = f"ip {'-6 ' if ':' in refusal else ''}route del {refusal}"
        # The daemon itself may refuse what it cannot reach, and withdraws that as soon as it can.
        by_daemon = awaited.intersection(refusal.split())
        yield f"unexpected route `{refusal}`", (f"sh -c '{deletion} 2>/dev/null; true'" if by_daemon else deletion,)
    for route in sorted(missing, key=_gateways_first):
        instead = [other for other in extra if _slot(other) == _slot(route)]
        extra.difference_update(instead)
        if route in space.learned:
            yield f"{ROUTES.describe(route, instead[0] if instead else None)}; {_expected_from(space)}", _awaited(route)
        elif instead:
            other = " and ".join(map(way_words, instead))
            what = f"route {destination_words(route)}: {other}, expected {way_words(route)}"
            yield what, (f"ip {shell.route_words(route, 'replace')}",)
        else:
            yield ROUTES.describe(route, None), (ROUTES.words(route, "add"),)
    for route in sorted(extra, key=str):
        yield ROUTES.describe(None, route), (ROUTES.words(route, "del"),)


def _slot(route: Route) -> tuple[object, ...]:
    """Routes of which the kernel keeps one, so that one replaces the other."""
    return ROUTES.key(route), route.further if route.further.startswith("tos") else ""


def _expected_from(space: Space) -> str:
    asked = ((program.name, program.ready) for program in space.of(Program))
    names = " or ".join(f"{name} (ask {ready.words[0]})" for name, ready in asked if isinstance(ready, Command))
    return f"expected from {names}"


def _awaited(route: Route) -> tuple[str, ...]:
    """The command that waits for the route of a daemon."""
    asking = f"ip -{route.to.version} route show {route.to} proto {route.protocol}"
    return (f"timeout 60 sh -c 'until {asking} | grep -q .; do sleep 0.2; done'",)


def _rules(space: Space, now: State) -> Iterator[Finding]:
    for rule in space.of(RoutingRule):
        if rule not in now.of(RoutingRule):
            yield RULES.describe(rule, None), (RULES.words(rule, "add"),)
    own = {rule.family for rule in space.of(RoutingRule) if rule.table == LOCAL_TABLE}
    first = {RoutingRule(0, family, LOCAL_TABLE) for family in (4, 6) if family not in own}
    for rule in sorted(first - now.of(RoutingRule), key=str):
        # Without IPv6 the kernel has no rules for it.
        if rule.family == 4 or any(other.family == 6 for other in now.of(RoutingRule)):
            yield RULES.describe(rule, None), (RULES.words(rule, "add"),)
    for rule in sorted(now.of(RoutingRule) - set(space.of(RoutingRule)) - first, key=str):
        yield RULES.describe(None, rule), (RULES.words(rule, "del"),)


def _ipsec(space: Space, now: State) -> Iterator[Found]:
    """The keys are made with the lab and not stored, so that only the lab can make an association again."""
    planned = [
        (way, source, target, item)
        for item in space.of(Esp)
        for way, source, target in (("out", item.local, item.remote), ("in", item.remote, item.local))
    ]
    there = {one.ends for one in now.associations}
    ways = {(one.direction, one.ends) for one in now.policies}
    for way, source, target, item in planned:
        ends = f"{source} > {target}"
        if ends not in there:
            yield Found(space.name, f"IPsec association {ends} missing", (), "ipsec")
        elif (way, ends) not in ways and (way == "out" or not item.mark):
            yield Found(space.name, f"IPsec policy {way} {ends} missing", (), "ipsec")
    known = {f"{source} > {target}" for _, source, target, _ in planned}
    foreign = [one.as_other for one in now.policies if one.ends not in known]
    foreign += [one.as_other for one in now.associations if one.ends not in known]
    for other in sorted(foreign, key=str):
        yield Found(space.name, other.unexpected, (other.undo,))


def _settings(space: Space, now: State) -> Iterator[Finding]:
    values = {item.key: item.value for item in space.of(Sysctl)}
    for item in space.of(Sysctl):
        value, device = now.sysctls.get(item.key), now.devices.get(item.dev)
        # The kernel removes the settings of IPv6 of a device whose MTU is too small for it.
        is_gone = item.dev and (device is None or (device.mtu < _LEAST_MTU_6 and "ipv6" in item.key))
        if value is None and is_gone:
            ignore_missing = "e" if item.optional else ""
            yield f"{item.key}: missing with {item.dev}", (f"sysctl -{ignore_missing}w {item.key}={item.value}",)
        elif value is None and not item.optional:
            yield f"{item.key}: not supported by this kernel", ()
        elif value is not None and value != item.value:
            yield f"{item.key}: {value}, expected {item.value}", writing(item.key, item.value, values)


def _others(space: Space, now: State) -> Iterator[Finding]:
    planned = {(one.dev, one.what): one for one in space.of(Other)}
    there = {(one.dev, one.what) for one in now.others}
    unexpected = [one for one in now.others if (one.dev, one.what) not in planned]
    yield from ((one.unexpected, tuple(one.undo.splitlines())) for one in unexpected)
    for key, one in planned.items():
        if key not in there:
            yield one.missing, tuple(one.redo.splitlines())
