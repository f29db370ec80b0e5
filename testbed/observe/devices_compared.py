"""Compare the devices of a lab with its plan: those to delete, to make again, and to change."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.kernel.state import DeviceState
from testbed.observe.lost import Lost, Place
from testbed.plan import shell
from testbed.plan.objects import (
    Bridge,
    Child,
    Datapath,
    Device,
    DownDevice,
    Link,
    Space,
    VethEnd,
)
from testbed.plan.objects.links import LINK_KINDS


class Found(NamedTuple):
    """A difference in one space."""

    space: str
    what: str
    commands: tuple[str, ...] = ()
    again: str = ""
    """What only the lab itself can make again."""


def compared(lost: Lost) -> Iterator[Found]:
    """The differences of devices, in an order in which their commands work in all spaces.

    Unexpected devices are deleted first. Lower devices are made before those on top of them.
    """
    deletions = list(lost.deletions())
    for space, state in lost.states.items():
        if not state.devices["lo"].up:
            yield Found(space, "lo: down, expected up", ("ip link set lo up",))
    yield from _unexpected(lost, deletions)
    makings = [(space, lost.plan.device(space, name)) for space, name in lost.reasons]
    for space, device in sorted(makings, key=lambda item: _rank(item[1])):
        yield from _made_again(lost, space, device, deletions)
    for space, state in lost.states.items():
        planned = lost.plan.devices_of(space)
        # Lower devices first: the MTU of an upper one cannot exceed theirs. A bridge adapts its MTU to its ports.
        for name, device in sorted(planned.items(), key=lambda item: isinstance(item[1], Child | Bridge)):
            if (there := state.devices.get(name)) and (space, name) not in lost.reasons:
                for what, command in _changed(lost, lost.plan[space], device, there):
                    yield Found(space, what, (command,))


def _unexpected(lost: Lost, deletions: Sequence[Place]) -> Iterator[Found]:
    order = {place: number for number, place in enumerate(deletions)}
    found = [
        (space, name)
        for space, state in lost.states.items()
        for name in state.devices
        if lost.is_unexpected(space, name)
    ]
    for space, name in sorted(found, key=lambda place: order.get(place, len(order))):
        kind = lost.states[space].devices[name].kind
        commands = (f"ip link del {name}",) if (space, name) in order else ()
        yield Found(space, f"unexpected device {name}{f' ({kind})' if kind else ''}", commands)


def _rank(device: Device) -> int:
    """Devices of lower rank are made first."""
    match device:
        case VethEnd():
            return 1
        case Child():
            return 2
    return 3 if LINK_KINDS[type(device)].needs_cables(device) else 0


def _made_again(lost: Lost, space: str, device: Device, deletions: Sequence[Place]) -> Iterator[Found]:
    reason = lost.reasons[space, device.name]
    what = f"device {device.name} missing" if reason == "missing" else f"{device.name}: {reason}"
    veth = lost.veths.get((space, device.name))
    if veth is None:
        assert not isinstance(device, VethEnd)
        deleting = (f"ip link del {device.name}",) if (space, device.name) in deletions else ()
        making = (*_making(device), *_after_making(lost, space, device))
        again = f"device {device.name}" if device.name in lost.by_lab(space) else ""
        yield Found(space, what, deleting if again else (*deleting, *making), again)
        return
    ends = [end for end in (veth.a, veth.b) if end.space in lost.states]
    if device is not ends[0]:
        if not reason.startswith("its "):
            first = ends[0]
            by_itself = lost.reasons[first.space, first.name]
            if not (reason == by_itself == "missing"):
                yield Found(space, what)
        return
    commands = [f"ip -n {end.space} link del {end.name}" for end in ends if (end.space, end.name) in deletions]
    commands += shell.veth_commands(veth)
    for end in ends:
        commands += (_at(end.space, command) for command in _after_making(lost, end.space, end))
    yield Found(space, what, tuple(commands))


def _at(space: str, command: str) -> str:
    program, _, words = command.partition(" ")
    return f"{program} -n {space} {words}" if program == "ip" else f"ip netns exec {space} {command}"


def _making(device: Link | Child) -> Iterator[str]:
    """The commands that make a device that is not an end of a pair."""
    if isinstance(device, Child):
        yield from shell.child_commands(device)
        return
    if isinstance(device, Datapath):
        yield from shell.datapath_commands(device)
        yield from (shell.flow_command(device.name, flow) for flow in device.flows)
        return
    yield f"ip {LINK_KINDS[type(device)].words(device)}"
    yield f"ip link set {device.name}{_properties(device)} up"


def _properties(device: Link) -> str:
    """Properties that cannot be given when a device is made."""
    master = f" master {device.master}" if device.master else ""
    return f"{master}{' promisc on' if getattr(device, 'promiscuous', False) else ''}"


def _after_making(lost: Lost, space: str, device: Device) -> Iterator[str]:
    """Commands for a new device that is up, as a port of its bridge."""
    if device.name in lost.plan.without_offload(space):
        yield f"ethtool -K {device.name} tso off gso off gro off"
    if device.name in lost.plan.without_checksums(space):
        yield f"ethtool -K {device.name} tx off"
    if any(item.dev == device.name for item in lost.plan[space].of(DownDevice)):
        yield f"ip link set {device.name} down"
    if isinstance(device, VethEnd):
        yield from (
            f"ip link set {device.name} master {link.name}"
            for link in lost.plan[space].links
            if isinstance(link, Datapath) and device.name in link.ports
        )


def _changed(lost: Lost, space: Space, device: Device, there: DeviceState) -> Iterator[tuple[str, str]]:
    """Properties that can be changed, each with the command."""
    name, is_down = device.name, any(item.dev == device.name for item in space.of(DownDevice))
    if there.mtu != device.mtu:
        yield f"{name}: MTU {there.mtu}, expected {device.mtu}", f"ip link set {name} mtu {device.mtu}"
    if device.mac and there.mac != device.mac:
        yield f"{name}: MAC address {there.mac}, expected {device.mac}", f"ip link set {name} address {device.mac}"
    arp = getattr(device, "arp", True)
    if there.kind in ("veth", "bridge", "vxlan", "macvlan") and there.arp != arp:
        yield f"{name}: ARP {_on(there.arp)}, expected {_on(arp)}", f"ip link set {name} arp {_on(arp)}"
    promiscuous = getattr(device, "promiscuous", False)
    if there.promiscuous != promiscuous:
        wanted = _on(promiscuous)
        yield f"{name}: promisc {_on(there.promiscuous)}, expected {wanted}", f"ip link set {name} promisc {wanted}"
    yield from _mastered(lost, space, device, there)
    if there.up == is_down:
        wanted = "down" if there.up else "up"
        yield f"{name}: {'up' if there.up else 'down'}, expected {wanted}", f"ip link set {name} {wanted}"


def _mastered(lost: Lost, space: Space, device: Device, there: DeviceState) -> Iterator[tuple[str, str]]:
    of = (link.name for link in space.links if isinstance(link, Datapath) and device.name in link.ports)
    master = device.master or next(of, "")
    now = "" if there.master in lost.of(space.name) else there.master
    if now != master:
        what = f"{device.name}: master {now or 'none'}, expected {master or 'none'}"
        yield what, f"ip link set {device.name} {f'master {master}' if master else 'nomaster'}"


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"
