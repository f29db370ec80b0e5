"""What of a living lab differs from its plan, and the commands that would mend each difference.

What follows from another difference by itself is left out: the other end of a pair that is gone, the route that the
kernel makes of an address that should not be there, or cannot make while its device is down.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from testbed.kernel.refusal import Namespaces
from testbed.kernel.rulesets import asked
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
"""Addresses come first; routes and rules are not all the plan's."""


@dataclass(frozen=True)
class Difference:
    """One thing in one place that is not as the plan has it."""

    place: str
    what: str
    mend: tuple[str, ...]
    """The commands to run in that place; none where none would do. `ip -n` finds the others of the lab by name."""


def inspect(plan: Plan, namespaces: Namespaces, ended: Iterable[tuple[str, str, str]] = ()) -> tuple[Difference, ...]:
    """Holds every namespace against the plan. What is `ended`, as the lab tells (`Lab.ended`), comes first."""
    found = [Difference(place, what, (mend,) if mend else ()) for place, what, mend in ended]
    for space in plan.spaces:
        with namespaces[space.name].entered():
            now = state_for(space)
        found += differences(plan, space, now)
    return tuple(found)


def state_for(space: Space) -> State:
    """All of the calling thread's namespace that the plan of this space says something about."""
    return state(space.of(Sysctl), asked(space.of(Ruleset)), space.bpf)


def differences(plan: Plan, space: Space, now: State) -> Iterator[Difference]:
    """What differs in one namespace, devices first, since the rest hangs on them."""
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
        yield "the device lo is down", "ip link set lo up"
    # Bridges before their ports.
    for name, device in sorted(planned.items(), key=lambda item: isinstance(item[1], VethEnd | Child)):
        there = now.devices.get(name)
        if there is None:
            if making := _making(plan, device):
                yield f"the device {name} is missing", making
        else:
            yield from _device(name, _kind(plan, device), device, there, _master(space, device))
            if there.up == (name in down):
                is_now, wanted = ("up", "down") if there.up else ("down", "up")
                yield f"{name} is {is_now}", f"ip link set {name} {wanted}"
    for name in sorted(set(now.devices) - set(planned) - BUILT_IN):
        yield f"there is a device {name}{_of_kind(now.devices[name])}", f"ip link del {name}"


def _of_kind(device: DeviceState) -> str:
    return f" ({device.kind})" if device.kind else ""


def _making(plan: Plan, device: Device) -> str:
    """The commands that make a device; none for the second end of a pair, which comes with the first."""
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
    """What the kernel calls such a device."""
    match device:
        case VethEnd():
            return pair_name(any(veth.is_netkit for veth in plan.veths if device in (veth.a, veth.b)))
        case Child():
            return device.kind
    return LINK_KINDS[type(device)].kernel_name(device)


def _details(device: Device) -> str:
    """As `testbed.kernel.state` has them."""
    kind = LINK_KINDS.get(type(device))
    return kind.planned(device) if kind else ""


def _master(space: Space, device: Device) -> str:
    """The bridge or the datapath that it is a port of; empty if none."""
    of = (link.name for link in space.links if isinstance(link, Datapath) and device.name in link.ports)
    return device.master or next(of, "")


def _device(name: str, kind: str, device: Device, there: DeviceState, master: str) -> Iterator[Finding]:
    if there.kind != kind:
        yield f"the device {name} is a {there.kind or 'device of no kind'}, not a {kind}", f"ip link del {name}"
        return
    if not isinstance(device, OtherLink) and there.details != (wanted := _details(device)):
        yield f"{name} is {there.details}, not {wanted}", f"ip link del {name}"
    if there.mtu != device.mtu:
        yield f"{name} has an MTU of {there.mtu}, not {device.mtu}", f"ip link set {name} mtu {device.mtu}"
    if device.mac and there.mac != device.mac:
        yield f"{name} has the MAC address {there.mac}, not {device.mac}", f"ip link set {name} address {device.mac}"
    if isinstance(device, VethEnd) and kind == "veth" and there.arp != device.arp:
        yield f"{name} is {'with' if there.arp else 'without'} ARP", f"ip link set {name} arp {_on(device.arp)}"
    if isinstance(device, Bridge) and there.promiscuous != device.promiscuous:
        found = "is promiscuous" if there.promiscuous else "is not promiscuous"
        yield f"{name} {found}", f"ip link set {name} promisc {_on(device.promiscuous)}"
    if there.master != master:
        port_of = f"is a port of {there.master}" if there.master else "is a port of no bridge"
        yield (
            f"{name} {port_of}, not of {master}" if master else f"{name} {port_of}",
            f"ip link set {name} {f'master {master}' if master else 'nomaster'}",
        )


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


def _objects(kind: ObjectKind[T], space: Space, now: State) -> Iterator[Finding]:
    there = {kind.key(item): item for item in now.of(kind.type)}
    for item in space.of(kind.type):
        other = there.pop(kind.key(item), None)
        if other != item:
            yield kind.told(item, other), kind.words(item, "replace" if other else kind.restored_by)
    for item in sorted(there.values(), key=str):
        yield kind.told(None, item), kind.words(item, "del")


def _routes(space: Space, now: State) -> Iterator[Finding]:
    working = {name for name, device in now.devices.items() if device.up}
    own = [item for item in space.of(DeviceAddress) if item in now.of(DeviceAddress) and item.dev in working]
    planned = {*map(ordered, space.of(Route)), *map(ordered, space.learned), *connected(own)}
    planned -= {item.route for item in space.of(CutRoute)}
    follows = {*connected(now.of(DeviceAddress)), *connected(space.of(DeviceAddress))}
    missing, extra = planned - now.of(Route), set(now.of(Route) - planned - follows)
    # The way to a gateway comes before what goes by it.
    for route in sorted(missing, key=lambda route: (route.via is not None, str(route))):
        instead = [other for other in extra if other.to == route.to]
        if instead:
            extra.difference_update(instead)
            other = " and ".join(map(way_words, instead))
            what = f"the route to {destination_words(route)} goes {other}, not {way_words(route)}"
            yield what, f"ip {shell.route_words(route, 'replace')}"
        elif route in space.learned:
            asked = ((program.name, program.ready) for program in space.of(Program))
            names = " or ".join(f"{name} (ask {ready.words[0]})" for name, ready in asked if isinstance(ready, Command))
            yield f"{ROUTES.told(route, None)}, which is to come of {names}", ""
        else:
            yield ROUTES.told(route, None), ROUTES.words(route, "add")
    for route in sorted(extra, key=str):
        yield ROUTES.told(None, route), ROUTES.words(route, "del")
    for refusal in sorted(now.refusals):
        yield f"there is a route `{refusal}`", f"ip {'-6 ' if ':' in refusal else ''}route del {refusal}"


def _rules(space: Space, now: State) -> Iterator[Finding]:
    for rule in space.of(RoutingRule):
        if rule not in now.of(RoutingRule):
            yield RULES.told(rule, None), RULES.words(rule, "add")
    first = {RoutingRule(0, family, LOCAL_TABLE) for family in (4, 6)}
    moved = {replace(rule, priority=0) for rule in space.of(RoutingRule) if rule.table == LOCAL_TABLE}
    for rule in sorted(now.of(RoutingRule) - set(space.of(RoutingRule)) - (first - moved), key=str):
        yield RULES.told(None, rule), RULES.words(rule, "del")


def _associations(space: Space, now: State) -> Iterator[Finding]:
    """Keys are made with the lab and known to nobody else: there is no command that would mend this."""
    for item in space.of(Esp):
        for ends in (f"{item.local} > {item.remote}", f"{item.remote} > {item.local}"):
            if ends not in now.associations:
                yield f"IPsec has no association {ends}", ""


def _settings(space: Space, now: State) -> Iterator[Finding]:
    for item in space.of(Sysctl):
        value = now.sysctls.get(item.key)
        if value is None and item.dev and item.dev not in now.devices:
            if_it_has_it = "e" if item.optional else ""
            yield f"{item.key} is gone with {item.dev}", f"sysctl -{if_it_has_it}w {item.key}={item.value}"
        elif value is None and not item.optional:
            yield f"the kernel has no setting {item.key}", ""
        elif value is not None and value != item.value:
            yield f"{item.key} is {value}, not {item.value}", f"sysctl -w {item.key}={item.value}"
