"""What of a living lab differs from its plan, and the commands that would mend each difference.

What follows from another difference by itself is left out: the other end of a pair that is gone, the route that the
kernel makes of an address that should not be there, or cannot make while its device is down.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from testbed.kernel.carry_out import Namespaces
from testbed.kernel.rulesets import asked
from testbed.kernel.state import BUILT_IN, OPEN_VSWITCH, DeviceState, State, connected, state
from testbed.observe.programmed import Finding, programmed
from testbed.plan import shell
from testbed.plan.objects import (
    BIRD,
    BOOT,
    LOCAL_TABLE,
    MAIN_TABLE,
    Bridge,
    Child,
    CutRoute,
    Daemon,
    Datapath,
    Device,
    DeviceAddress,
    DownDevice,
    Esp,
    FdbEntry,
    IpTunnel,
    Neighbour,
    Netem,
    OtherLink,
    Plan,
    Route,
    RoutingRule,
    Space,
    Sysctl,
    TokenBucket,
    VethEnd,
    Vxlan,
)
from testbed.plan.rulesets import Ruleset

_OWNERS = {BIRD: "bird"}
"""Of routes, as ip(8) names them."""


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
        *_addresses(space, now),
        *_routes(space, now),
        *_rules(space, now),
        *_neighbours(space, now),
        *_forwarding(space, now),
        *_token_buckets(space, now),
        *_netems(space, now),
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
        return f"ip {shell.link_words(device)}\nip link set {device.name} up"
    veth = next(veth for veth in plan.veths if device in (veth.a, veth.b))
    return "\n".join(shell.veth_commands(veth)) if device is veth.a else ""


def _kind(plan: Plan, device: Device) -> str:
    """What the kernel calls such a device."""
    match device:
        case VethEnd():
            return "netkit" if any(veth.is_netkit for veth in plan.veths if device in (veth.a, veth.b)) else "veth"
        case Child() | IpTunnel() | OtherLink():
            return str(device.kind)
        case Datapath():
            return OPEN_VSWITCH
    return type(device).__name__.lower()


def _details(device: Device) -> str:
    """As `testbed.kernel.state` has them."""
    if not isinstance(device, Vxlan):
        return ""
    if device.external:
        return f"external VXLAN port {device.port}"
    by = f" by {device.dev}" if device.dev else ""
    return f"VXLAN {device.vni} at {device.local}{by} port {device.port}{' learning' if device.learning else ''}"


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


def _addresses(space: Space, now: State) -> Iterator[Finding]:
    planned = set(space.of(DeviceAddress))
    for item in space.of(DeviceAddress):
        if item not in now.addresses:
            yield f"{item.dev} has not the address {item.interface}", f"ip {shell.address_words(item)}"
    for item in sorted(now.addresses - planned, key=str):
        yield f"{item.dev} has the address {item.interface}", f"ip {shell.address_words(item, 'del')}"


def _routes(space: Space, now: State) -> Iterator[Finding]:
    working = {name for name, device in now.devices.items() if device.up}
    own = [item for item in space.of(DeviceAddress) if item in now.addresses and item.dev in working]
    planned = {*map(_sorted, space.of(Route)), *map(_sorted, space.learned), *connected(own)}
    planned -= {item.route for item in space.of(CutRoute)}
    follows = {*connected(now.addresses), *connected(space.of(DeviceAddress))}
    missing, extra = planned - now.routes, set(now.routes - planned - follows)
    # The way to a gateway comes before what goes by it.
    for route in sorted(missing, key=lambda route: (route.via is not None, str(route))):
        instead = [other for other in extra if other.to == route.to]
        if instead:
            extra.difference_update(instead)
            other = " and ".join(map(_way, instead))
            what = f"the route to {_to(route)} goes {other}, not {_way(route)}"
            yield what, f"ip {shell.route_words(route, 'replace')}"
        elif route in space.learned:
            names = " or ".join(f"{daemon.name} (ask {daemon.ready[0]})" for daemon in space.of(Daemon))
            yield f"there is no route to {_to(route)} {_way(route)}, which is to come of {names}", ""
        else:
            yield f"there is no route to {_to(route)} {_way(route)}", f"ip {shell.route_words(route)}"
    for route in sorted(extra, key=str):
        if route.blackhole:
            yield f"there is a route `blackhole {route.to}`", f"ip {shell.route_words(route, 'del')}"
            continue
        yield f"there is a route to {_to(route)} {_way(route)}", f"ip {shell.route_words(route, 'del')}"
    for refusal in sorted(now.refusals):
        yield f"there is a route `{refusal}`", f"ip {'-6 ' if ':' in refusal else ''}route del {refusal}"


def _sorted(route: Route) -> Route:
    """The order of next hops means nothing."""
    return replace(route, nexthops=tuple(sorted(route.nexthops, key=str)))


def _to(route: Route) -> str:
    return "everywhere (default)" if route.to.prefixlen == 0 else str(route.to)


def _way(route: Route) -> str:
    owner = f", proto {_OWNERS.get(route.protocol, route.protocol)}" if route.protocol != BOOT else ""
    table = f", in table {route.table}" if route.table != MAIN_TABLE else ""
    return f"{_hops(route)}{owner}{table}"


def _hops(route: Route) -> str:
    if route.blackhole:
        return "into nothing (blackhole)"
    if route.nexthops:
        return " or ".join(f"via {hop.via} by {hop.dev}" for hop in route.nexthops)
    if route.encap:
        return f"by {route.dev} with{shell.encap_words(route.encap)}"
    return f"via {route.via} by {route.dev}" if route.via else f"by {route.dev}"


def _rules(space: Space, now: State) -> Iterator[Finding]:
    for rule in space.of(RoutingRule):
        if rule not in now.rules:
            yield f"there is no routing rule `{_rule(rule)}`", f"ip {shell.rule_words(rule)}"
    first = {RoutingRule(0, family, LOCAL_TABLE) for family in (4, 6)}
    moved = {replace(rule, priority=0) for rule in space.of(RoutingRule) if rule.table == LOCAL_TABLE}
    for rule in sorted(now.rules - set(space.of(RoutingRule)) - (first - moved), key=str):
        yield f"there is a routing rule `{_rule(rule)}`", f"ip {shell.rule_words(rule, 'del')}"


def _rule(rule: RoutingRule) -> str:
    return shell.rule_words(rule).partition(" add ")[2]


def _neighbours(space: Space, now: State) -> Iterator[Finding]:
    there = {(item.address, item.dev): item for item in now.neighbours}
    for item in space.of(Neighbour):
        other = there.pop((item.address, item.dev), None)
        if other is None:
            yield f"{item.dev} has no entry for the neighbour {item.address}", f"ip {shell.neighbour_words(item)}"
        elif other.mac != item.mac:
            yield (
                f"{item.dev} takes the neighbour {item.address} for {other.mac}, not {item.mac}",
                f"ip {shell.neighbour_words(item, 'replace')}",
            )
    for item in sorted(there.values(), key=str):
        yield (
            f"{item.dev} has a permanent entry for the neighbour {item.address} ({item.mac})",
            f"ip {shell.neighbour_words(item, 'del')}",
        )


def _forwarding(space: Space, now: State) -> Iterator[Finding]:
    for item in space.of(FdbEntry):
        if item not in now.fdb:
            yield (
                f"{item.dev} does not forward frames for {item.mac} to {item.remote}",
                f"bridge {shell.fdb_words(item)}",
            )
    for item in sorted(now.fdb - set(space.of(FdbEntry)), key=str):
        yield f"{item.dev} forwards frames for {item.mac} to {item.remote}", f"bridge {shell.fdb_words(item, 'del')}"


def _token_buckets(space: Space, now: State) -> Iterator[Finding]:
    there = {item.dev: item for item in now.token_buckets}
    for item in space.of(TokenBucket):
        other = there.pop(item.dev, None)
        if other != item:
            found = f"is limited to {other.rate} bit/s" if other else "has no limit"
            yield f"{item.dev} {found}, not {item.rate} bit/s", f"tc {shell.token_bucket_words(item, 'replace')}"
    for dev in sorted(there):
        yield f"{dev} is limited to {there[dev].rate} bit/s", f"tc qdisc del dev {dev} root"


def _netems(space: Space, now: State) -> Iterator[Finding]:
    there = {item.dev: item for item in now.netems}
    for item in space.of(Netem):
        other = there.pop(item.dev, None)
        if other != item:
            found = _netem(other) if other else "delays nothing and loses nothing"
            yield f"{item.dev} {found}; planned: {_netem(item)}", f"tc {shell.netem_words(item, 'replace')}"
    for dev in sorted(there):
        yield f"{dev} {_netem(there[dev])}", f"tc qdisc del dev {dev} root"


def _netem(item: Netem) -> str:
    return f"has `{shell.netem_words(item).partition(' root ')[2]}`"


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
