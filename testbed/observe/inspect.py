"""Compare a living lab with its plan: each difference, and the commands that fix it.

Consequences of another difference are left out: the other end of a deleted pair, the connected route of an unexpected
address, or the one missing while its device is down.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from testbed.kernel.refusal import Namespaces
from testbed.kernel.rulesets import to_list
from testbed.kernel.state import BUILT_IN, DeviceState, State, connected, state
from testbed.observe.programmed import Finding, programmed
from testbed.plan import shell
from testbed.plan.objects import (
    LOCAL_TABLE,
    Bridge,
    Child,
    Command,
    CutRoute,
    Datapath,
    Device,
    DeviceAddress,
    DownDevice,
    Esp,
    Object,
    OtherLink,
    Plan,
    Program,
    Route,
    RoutingRule,
    Space,
    Sysctl,
    VethEnd,
)
from testbed.plan.objects.addresses import ADDRESSES
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.routes import ROUTES, destination_words, ordered, way_words
from testbed.plan.objects.rules import RULES
from testbed.plan.objects.veth import pair_name
from testbed.plan.rulesets import Ruleset

T = TypeVar("T", bound=Object)

_APART = (ADDRESSES, ROUTES, RULES)
"""Addresses are compared first; of routes and rules the kernel adds some itself."""


@dataclass(frozen=True)
class Difference:
    """One object in one place that differs from the plan."""

    place: str
    what: str
    mend: tuple[str, ...]
    """The commands that fix it, to run in that place; empty if there are none. `ip -n` finds other places by name."""


def inspect(plan: Plan, namespaces: Namespaces, ended: Iterable[tuple[str, str, str]] = ()) -> tuple[Difference, ...]:
    """Compare every namespace with the plan. The processes that `ended` (see `Lab.ended`) come first."""
    found = [Difference(place, what, (mend,) if mend else ()) for place, what, mend in ended]
    for space in plan.spaces:
        with namespaces[space.name].entered():
            now = state_for(space)
        found += differences(plan, space, now)
    return tuple(found)


def state_for(space: Space) -> State:
    """The state of the calling thread's namespace, as far as the plan of this space covers it."""
    return state(space.of(Sysctl), to_list(space.of(Ruleset)), space.bpf)


def differences(plan: Plan, space: Space, now: State) -> Iterator[Difference]:
    """The differences in one namespace, devices first, since the rest depends on them."""
    for what, mend in (
        *_devices(plan, space, now),
        *_objects(ADDRESSES, space, now),
        *_routes(space, now),
        *_rules(space, now),
        *(finding for kind in KINDS.values() if kind not in _APART for finding in _objects(kind, space, now)),
        *_associations(space, now),
        *_settings(space, now),
        *programmed(space, now),
    ):
        yield Difference(space.name, what, tuple(mend.splitlines()))


def _devices(plan: Plan, space: Space, now: State) -> Iterator[Finding]:
    planned = plan.devices_of(space.name)
    down = {item.dev for item in space.of(DownDevice)}
    if not now.devices["lo"].up:
        yield _state_of("lo", "up"), "ip link set lo up"
    # Bridges before their ports.
    for name, device in sorted(planned.items(), key=lambda item: isinstance(item[1], VethEnd | Child)):
        there = now.devices.get(name)
        if there is None:
            if making := _making(plan, device):
                yield f"device {name} missing", making
        else:
            yield from _device(name, _kind(plan, device), device, there, _master(space, device))
            if there.up == (name in down):
                wanted = "down" if there.up else "up"
                yield _state_of(name, wanted), f"ip link set {name} {wanted}"
    for name in sorted(set(now.devices) - set(planned) - BUILT_IN):
        yield f"unexpected device {name}{_of_kind(now.devices[name])}", f"ip link del {name}"


def _state_of(name: str, wanted: str) -> str:
    return f"{name}: {'down' if wanted == 'up' else 'up'}, expected {wanted}"


def _of_kind(device: DeviceState) -> str:
    return f" ({device.kind})" if device.kind else ""


def _making(plan: Plan, device: Device) -> str:
    """The commands that make a device; empty for the second end of a pair, which is made with the first."""
    if isinstance(device, Child):
        return "\n".join(shell.child_commands(device))
    if isinstance(device, Datapath):
        return "\n".join(
            (*shell.datapath_commands(device), *(shell.flow_command(device.name, flow) for flow in device.flows))
        )
    if not isinstance(device, VethEnd):
        return f"ip {LINK_KINDS[type(device)].words(device)}\nip link set {device.name} up"
    veth = next(veth for veth in plan.veths if device in (veth.a, veth.b))
    return "\n".join(shell.veth_commands(veth)) if device is veth.a else ""


def _kind(plan: Plan, device: Device) -> str:
    """The kernel's name for this kind of device."""
    match device:
        case VethEnd():
            return pair_name(any(veth.is_netkit for veth in plan.veths if device in (veth.a, veth.b)))
        case Child():
            return device.kind
    return LINK_KINDS[type(device)].kernel_name(device)


def _details(device: Device) -> str:
    """In the format of `testbed.kernel.state`."""
    kind = LINK_KINDS.get(type(device))
    return kind.planned(device) if kind else ""


def _master(space: Space, device: Device) -> str:
    """The bridge or datapath of which the device is a port; empty if none."""
    of = (link.name for link in space.links if isinstance(link, Datapath) and device.name in link.ports)
    return device.master or next(of, "")


def _device(name: str, kind: str, device: Device, there: DeviceState, master: str) -> Iterator[Finding]:
    if there.kind != kind:
        yield f"{name}: device kind {there.kind or 'none'}, expected {kind}", f"ip link del {name}"
        return
    if not isinstance(device, OtherLink) and there.details != (wanted := _details(device)):
        yield f"{name}: {there.details}, expected {wanted}", f"ip link del {name}"
    if there.mtu != device.mtu:
        yield f"{name}: MTU {there.mtu}, expected {device.mtu}", f"ip link set {name} mtu {device.mtu}"
    if device.mac and there.mac != device.mac:
        yield f"{name}: MAC address {there.mac}, expected {device.mac}", f"ip link set {name} address {device.mac}"
    if isinstance(device, VethEnd) and kind == "veth" and there.arp != device.arp:
        yield f"{name}: ARP {_on(there.arp)}, expected {_on(device.arp)}", f"ip link set {name} arp {_on(device.arp)}"
    if isinstance(device, Bridge) and there.promiscuous != device.promiscuous:
        wanted = _on(device.promiscuous)
        yield f"{name}: promisc {_on(there.promiscuous)}, expected {wanted}", f"ip link set {name} promisc {wanted}"
    if there.master != master:
        yield (
            f"{name}: master {there.master or 'none'}, expected {master or 'none'}",
            f"ip link set {name} {f'master {master}' if master else 'nomaster'}",
        )


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


def _objects(kind: ObjectKind[T], space: Space, now: State) -> Iterator[Finding]:
    there = {kind.key(item): item for item in now.of(kind.type)}
    for item in space.of(kind.type):
        other = there.pop(kind.key(item), None)
        if other != item:
            yield kind.describe(item, other), kind.words(item, "replace" if other else kind.restored_by)
    for item in sorted(there.values(), key=str):
        yield kind.describe(None, item), kind.words(item, "del")


def _routes(space: Space, now: State) -> Iterator[Finding]:
    working = {name for name, device in now.devices.items() if device.up}
    own = [item for item in space.of(DeviceAddress) if item in now.of(DeviceAddress) and item.dev in working]
    planned = {*map(ordered, space.of(Route)), *map(ordered, space.learned), *connected(own)}
    planned -= {item.route for item in space.of(CutRoute)}
    follows = {*connected(now.of(DeviceAddress)), *connected(space.of(DeviceAddress))}
    missing, extra = planned - now.of(Route), set(now.of(Route) - planned - follows)
    # The route to a gateway comes before the routes via it.
    for route in sorted(missing, key=lambda route: (route.via is not None, str(route))):
        instead = [other for other in extra if other.to == route.to]
        if instead:
            extra.difference_update(instead)
            other = " and ".join(map(way_words, instead))
            what = f"route {destination_words(route)}: {other}, expected {way_words(route)}"
            yield what, f"ip {shell.route_words(route, 'replace')}"
        elif route in space.learned:
            asked = ((program.name, program.ready) for program in space.of(Program))
            names = " or ".join(f"{name} (ask {ready.words[0]})" for name, ready in asked if isinstance(ready, Command))
            yield f"{ROUTES.describe(route, None)}; expected from {names}", ""
        else:
            yield ROUTES.describe(route, None), ROUTES.words(route, "add")
    for route in sorted(extra, key=str):
        yield ROUTES.describe(None, route), ROUTES.words(route, "del")
    for refusal in sorted(now.refusals):
        yield f"unexpected route `{refusal}`", f"ip {'-6 ' if ':' in refusal else ''}route del {refusal}"


def _rules(space: Space, now: State) -> Iterator[Finding]:
    for rule in space.of(RoutingRule):
        if rule not in now.of(RoutingRule):
            yield RULES.describe(rule, None), RULES.words(rule, "add")
    first = {RoutingRule(0, family, LOCAL_TABLE) for family in (4, 6)}
    moved = {replace(rule, priority=0) for rule in space.of(RoutingRule) if rule.table == LOCAL_TABLE}
    for rule in sorted(now.of(RoutingRule) - set(space.of(RoutingRule)) - (first - moved), key=str):
        yield RULES.describe(None, rule), RULES.words(rule, "del")


def _associations(space: Space, now: State) -> Iterator[Finding]:
    """The keys are made with the lab and not stored, so no command can fix this."""
    for item in space.of(Esp):
        for ends in (f"{item.local} > {item.remote}", f"{item.remote} > {item.local}"):
            if ends not in now.associations:
                yield f"IPsec association {ends} missing", ""


def _settings(space: Space, now: State) -> Iterator[Finding]:
    for item in space.of(Sysctl):
        value = now.sysctls.get(item.key)
        if value is None and item.dev and item.dev not in now.devices:
            ignore_missing = "e" if item.optional else ""
            yield f"{item.key}: missing with {item.dev}", f"sysctl -{ignore_missing}w {item.key}={item.value}"
        elif value is None and not item.optional:
            yield f"{item.key}: not supported by this kernel", ""
        elif value is not None and value != item.value:
            yield f"{item.key}: {value}, expected {item.value}", f"sysctl -w {item.key}={item.value}"
