"""Devices that must be made again, and what goes with them.

A device is lost if it is missing, or if the kernel cannot change it to the planned one: another kind, other parameters
of a tunnel, another index, or the wrong other end. It is deleted if it exists, and made again; the kernel removes what
depends on it, so that this counts as missing too.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from testbed.kernel.dumped import BUILT_IN
from testbed.kernel.state import DeviceState, State
from testbed.plan.objects import (
    Child,
    Datapath,
    Device,
    OtherLink,
    Plan,
    Space,
    Sysctl,
    Tun,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.veth import pair_name

Place = tuple[str, str]
"""A device: its space and its name."""
_PAIRS = ("veth", "netkit")


@dataclass(frozen=True)
class Lost:
    """The lost devices of a lab, given the states of some or all of its namespaces."""

    plan: Plan
    states: Mapping[str, State]

    @cached_property
    def veths(self) -> Mapping[Place, Veth]:
        """The pair of each end."""
        return {(end.space, end.name): veth for veth in self.plan.veths for end in (veth.a, veth.b)}

    @cached_property
    def reasons(self) -> Mapping[Place, str]:
        """Why each must be made again: `missing`, a difference, or the device that it depends on."""
        found = {
            (space, name): reason
            for space in self.states
            for name, device in self.plan.devices_of(space).items()
            if (reason := self._reason(space, name, device))
        }
        while more := dict(self._depending_on(found)):
            found |= more
        return found

    def of(self, space: str) -> set[str]:
        """The names of those in a space."""
        return {name for at, name in self.reasons if at == space}

    def by_lab(self, space: str) -> set[str]:
        """The names of lost devices that only the lab can make again, with what depends on them.

        A command can give a tun device no index, and a WireGuard device no key that the others know.
        """
        return {name for name in self.of(space) if isinstance(self.plan.device(space, name), Tun | Wireguard)}

    def gone(self, space: str) -> set[str]:
        """The names of the lost devices of a space, and of unexpected ones."""
        return self.of(space) | {name for name in self.states[space].devices if self.is_unexpected(space, name)}

    def _reason(self, space: str, name: str, device: Device) -> str:
        there = self.states[space].devices.get(name)
        if there is None:
            return "missing"
        kind = self._kind(space, device)
        if there.kind != kind:
            return f"device kind {there.kind or 'none'}, expected {kind or 'none'}"
        if isinstance(device, OtherLink | Datapath) or _is_kernels_own(device):
            return ""
        wanted = details(device)
        if there.details != wanted:
            return f"{there.details}, expected {wanted}"
        if there.index != device.index:
            return f"interface index {there.index}, expected {device.index}"
        if isinstance(device, Child) and there.mode and there.mode != device.mode:
            return f"{kind} mode {there.mode}, expected {device.mode}"
        return self._wrong_end((space, name), there)

    def _kind(self, space: str, device: Device) -> str:
        """The kernel's name for this kind of device."""
        match device:
            case VethEnd():
                return pair_name(self.veths[space, device.name].is_netkit)
            case Child():
                return device.kind
        return LINK_KINDS[type(device)].kernel_name(device)

    def _wrong_end(self, place: Place, there: DeviceState) -> str:
        veth = self.veths.get(place)
        if veth is None or not there.link:
            return ""
        other = veth.b if (veth.a.space, veth.a.name) == place else veth.a
        if there.link != other.index:
            return f"the other end is interface {there.link}, expected {other.index} ({other.name} of {other.space})"
        return ""

    def _depending_on(self, lost: Mapping[Place, str]) -> Iterator[tuple[Place, str]]:
        for space in self.states:
            for name, device in self.plan.devices_of(space).items():
                if (space, name) in lost:
                    continue
                if veth := self.veths.get((space, name)):
                    other = veth.b if (veth.a.space, veth.a.name) == (space, name) else veth.a
                    if (other.space, other.name) in lost:
                        yield (space, name), f"its other end {other.name} of {other.space} must be recreated"
                elif isinstance(device, Child) and (device.node, device.parent) in lost:
                    yield (space, name), f"its parent {device.parent} of {device.node} must be recreated"
                elif isinstance(device, Vxlan) and device.dev and (space, device.dev) in lost:
                    yield (space, name), f"its device {device.dev} must be recreated"

    def deletions(self) -> Iterator[Place]:
        """Existing devices to delete, in order: unexpected ones, and lost ones that exist.

        The kernel deletes some with others, which are left out: the other end of a pair, and devices on top of lost
        ones. Those on top of others come first.
        """
        there = [
            ((space, name), device)
            for space, state in self.states.items()
            for name, device in state.devices.items()
            if (space, name) in self.reasons or self.is_unexpected(space, name)
        ]
        # The kernel deletes a device on top of another one with it.
        gone = {place for place in self.reasons if self._is_on_top_of_lost(place)}
        for (space, name), device in sorted(there, key=lambda item: -_height(item[1], self.states[item[0][0]])):
            if (space, name) in gone or name in BUILT_IN:
                continue
            gone.add((space, name))
            if device.kind in _PAIRS:
                gone |= {place for place, other in there if _is_pair(space, device, place[0], other)}
            yield space, name

    def _is_on_top_of_lost(self, place: Place) -> bool:
        device = self.plan.device(*place)
        below = (device.node, device.parent) if isinstance(device, Child) else (place[0], getattr(device, "dev", ""))
        return below in self.reasons

    def is_unexpected(self, space: str, name: str) -> bool:
        return name not in BUILT_IN and name not in self.plan.devices_of(space)


def _is_pair(space: str, one: DeviceState, place: str, other: DeviceState) -> bool:
    """Whether these are the two ends of one pair."""
    linked = one.link == other.index and other.link == one.index and one.kind == other.kind
    return linked and (one is not other) and (one.link_space is None) == (space == place)


def _is_on_top(device: DeviceState) -> bool:
    """Whether it has a device of its own namespace below it."""
    return device.kind not in _PAIRS and device.link_space is None


def _height(device: DeviceState, state: State) -> int:
    """How many devices of its namespace are below it."""
    height, by_index = 0, {other.index: other for other in state.devices.values()}
    while _is_on_top(device) and device.link in by_index and height < len(by_index):
        device, height = by_index[device.link], height + 1
    return height + (device.kind not in _PAIRS and device.link_space is not None)


def _is_kernels_own(device: Device) -> bool:
    kind = LINK_KINDS.get(type(device))
    return bool(kind and kind.is_kernels_own(device))


def details(device: Device) -> str:
    """Parameters of a planned device, in the format of `testbed.kernel.state`."""
    kind = LINK_KINDS.get(type(device))
    return kind.planned(device) if kind else ""


def without(state: State, lost: Collection[str], space: Space, planned: Mapping[str, Device]) -> State:
    """The state once these devices are deleted: without what depends on them. `planned` are the devices of the space.

    A port that joins its bridge has no options of a port.
    """
    masters = {name: planned[name].master or "" for name in state.devices if name in planned}
    moved = {name for name, master in masters.items() if state.devices[name].master in lost or master in lost}
    moved |= {name for name, master in masters.items() if master and state.devices[name].master != master}
    if not lost and not moved:
        return state
    settings = {item.key for item in space.of(Sysctl) if item.dev in lost}
    bpf = state.bpf and replace(state.bpf, hooks=frozenset(one for one in state.bpf.hooks if one.dev not in lost))
    return replace(
        state,
        devices={
            name: replace(device, master="") if device.master in lost else device
            for name, device in state.devices.items()
            if name not in lost
        },
        objects={
            kind: frozenset(item for item in items if not any(dev in lost for dev in KINDS[kind].devices(item)))
            for kind, items in state.objects.items()
        },
        classifying=state.classifying - set(lost),
        sysctls={key: value for key, value in state.sysctls.items() if key not in settings},
        datapaths={name: one for name, one in state.datapaths.items() if name not in lost},
        bpf=bpf,
        others=tuple(one for one in state.others if one.dev not in lost and not (one.of_port and one.dev in moved)),
    )
