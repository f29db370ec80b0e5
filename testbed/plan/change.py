"""The difference of two plans: the objects to create, remove and replace.

A new lab is built from the difference between an empty plan and its plan. Objects that are equal in both plans are not
touched, so the traffic of uninvolved places is not disturbed.

The kernel removes a device's dependent objects with the device, so they are not removed separately. A device must be
recreated if the kernel cannot change a differing property; its dependent objects are then recreated too.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, replace
from typing import Any, NamedTuple

from testbed.plan.objects import (
    LINKS,
    Bpf,
    Child,
    CutRoute,
    Datapath,
    DeviceAddress,
    DownDevice,
    Esp,
    File,
    Kind,
    LearnedRoute,
    Link,
    NftTable,
    Other,
    Plan,
    Route,
    SegmentSource,
    Space,
    Sysctl,
    Veth,
    Vxlan,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.parts import not_identical

Place = tuple[str, str]
"""A device: its space and its name."""


class Make(NamedTuple):
    """An object to create."""

    space: str
    item: Any


class Remove(NamedTuple):
    """An object to remove."""

    space: str
    item: Any


class Replace(NamedTuple):
    """An object that replaces one with the same key."""

    space: str
    old: Any
    new: Any


Change = Make | Remove | Replace

OBSERVED = (LearnedRoute, CutRoute, DownDevice, NftTable, Other)
"""Objects that daemons or CNI plugins add or remove: they are expected, but not created here."""
_CHANGEABLE = frozenset(
    ("mtu", "mac", "master", "offload", "checksums", "arp", "promiscuous", "peers", "flows", "ports")
)
"""Properties of a device that can be changed; if another one differs, the device is recreated."""
_KEYS: Mapping[type, Callable[[Any], Hashable]] = {
    **{kind.type: kind.key for kind in KINDS.values()},
    Sysctl: lambda item: item.key,
    File: lambda item: item.path,
    Bpf: lambda item: None,
    SegmentSource: lambda item: None,
    Esp: lambda item: (item.local, item.remote, item.port, item.mark),
}
"""By kind: the key that is unique in a space; for other kinds the object itself."""
_DEVICES: Mapping[type, Callable[[Any], Collection[str]]] = {
    **{kind.type: kind.devices for kind in KINDS.values()},
    Sysctl: lambda item: (item.dev,) if item.dev else (),
}
"""By kind: the devices that an object depends on."""


def _itself(item: Hashable) -> Hashable:
    return item


def _none(item: Any) -> Collection[str]:
    return ()


def _hooked(bpf: Bpf) -> Collection[str]:
    """The devices with programs, which must be attached again if the device is recreated."""
    return {hook.dev for hook in bpf.hooks}


def diff(old: Plan | None, new: Plan) -> tuple[Change, ...]:
    """The changes in order: removals, dependent objects first; then the others, dependent objects last."""
    return tuple(_changes(old or replace(new, spaces=(), veths=(), children=(), plugged=()), new))


def _changes(old: Plan, new: Plan) -> Iterator[Change]:
    devices = _Devices(old, new)
    if not devices.is_all:
        devices = _Devices(old, new, whole=True)
    old, new = devices.old, devices.new
    there = {space.name: space for space in old.spaces}
    staying = {space.name for space in new.spaces if _is_same(there.get(space.name), space)}
    fresh = [space for space in new.spaces if space.name not in staying]
    entries = [
        change
        for space in new.spaces
        # Skip unchanged spaces, which are most of them.
        if space.name in staying and (there[space.name].objects != space.objects or devices.lost_in(space.name))
        for change in _entries(there[space.name], space, devices.lost_in(space.name))
    ]
    yield from (change for change in reversed(entries) if isinstance(change, Remove))
    yield from devices.removals()
    yield from (Remove(space.name, space) for space in old.spaces if space.name not in staying)
    yield from (Make(space.name, space) for space in fresh)
    yield from devices.makings()
    for space in fresh:
        name = space.name
        yield from (Make(name, item) for item in space.objects if not isinstance(item, LINKS + OBSERVED))
    yield from (change for change in entries if not isinstance(change, Remove))


def touched(old: Plan, new: Plan) -> tuple[str, ...]:
    """The names of the spaces that are not identical (`is`) in both plans, or share a device that is not."""
    names: dict[str, None] = {}
    for found in (not_identical(old, new), not_identical(new, old)):
        names.update((space.name, None) for space in found.spaces)
        names.update((end.space, None) for veth in found.veths for end in (veth.a, veth.b))
        names.update((name, None) for child in found.children for name in (child.space, child.node))
    return tuple(names)


def _differing(plan: Plan, other: Plan) -> Plan:
    """The plan without objects that are identical (`is`) in the other one."""
    return replace(plan, **not_identical(plan, other)._asdict())


def _is_same(one: Space | None, other: Space) -> bool:
    """Whether it is the same namespace; a pod that moves to another node gets a new one."""
    return one is not None and (one.kind, one.node) == (other.kind, other.node)


def _entries(old: Space, new: Space, lost: AbstractSet[str]) -> Iterator[Change]:
    """The changes of a space, except its devices; `lost` are the devices that are removed or recreated."""
    losing = _losing_addresses(old, new)
    for kind in dict.fromkeys((*old.types, *new.types)):
        if kind in LINKS or kind in OBSERVED:
            continue
        key, devices = _KEYS.get(kind, _itself), _DEVICES.get(kind, _none)
        touching = _hooked if kind is Bpf else devices
        one: tuple[Any, ...] = old.of(kind)
        other: tuple[Any, ...] = new.of(kind)
        affected = lost | losing if kind in (DeviceAddress, Route) else lost
        if one is other and not affected:
            continue
        there = {key(item): item for item in one}
        planned = {key(item): item for item in other}
        for name, item in there.items():
            if name not in planned and not _is_lost(devices(item), lost):
                yield Remove(new.name, item)
        for name, item in planned.items():
            before = there.get(name)
            if before is None or _is_lost(devices(before), lost):
                yield Make(new.name, item)
            elif (before is not item and before != item) or not affected.isdisjoint(touching(item)):
                yield Replace(new.name, before, item)


def _losing_addresses(old: Space, new: Space) -> AbstractSet[str]:
    """The devices that lose an address; the kernel may then also remove others of its subnet, and routes."""
    planned = set(new.of(DeviceAddress))
    return {item.dev for item in old.of(DeviceAddress) if item not in planned}


def _is_lost(devices: Collection[str], lost: AbstractSet[str]) -> bool:
    """Whether an object is removed with its devices: if all of them are lost."""
    return bool(devices) and all(dev in lost for dev in devices)


class _Held(NamedTuple):
    """An object that creates devices: a link, a veth pair, or a child of another device."""

    item: Any
    places: tuple[Place, ...]
    below: tuple[Place, ...] = ()
    """The device that it depends on."""


def _held(plan: Plan) -> dict[tuple[Place, ...], _Held]:
    """All such objects, by the places of their devices."""
    found = [_in_space(space.name, link) for space in plan.spaces for link in space.links]
    found += (_Held(veth, ((veth.a.space, veth.a.name), (veth.b.space, veth.b.name))) for veth in plan.veths)
    found += (_Held(child, ((child.space, child.name),), ((child.node, child.parent),)) for child in plan.children)
    return {held.places: held for held in found}


def _in_space(space: str, link: Link) -> _Held:
    below = ((space, link.dev),) if isinstance(link, Vxlan) and link.dev else ()
    return _Held(link, ((space, link.name),), below)


class _Devices:
    """The changes of devices: of those that are not identical (`is`) in both plans, or with `whole` of all."""

    def __init__(self, old: Plan, new: Plan, whole: bool = False) -> None:
        self.old, self.new = (old, new) if whole else (_differing(old, new), _differing(new, old))
        """The examined objects of each plan."""
        self._there, self._planned = _held(self.old), _held(self.new)
        there = {space.name: space for space in self.old.spaces}
        staying = {space.name for space in self.new.spaces if _is_same(there.get(space.name), space)}
        leaving = there.keys() - staying
        lost = {place for held in self._there.values() if not self._is_kept(held, leaving) for place in held.places}
        while more := self._depending_on(lost):
            lost |= more
        self._lost: dict[str, set[str]] = {}
        for space, name in lost:
            self._lost.setdefault(space, set()).add(name)
        self.is_all = whole or not self._reach_further(lost, there, old.children)
        """Whether all changes are among the examined objects."""

    def _reach_further(self, lost: AbstractSet[Place], there: Mapping[str, Space], children: Iterable[Child]) -> bool:
        """Whether objects that are identical in both plans may depend on lost devices.

        All entries and links of an examined space are examined, but not its ends of pairs that are ports of a bridge,
        and not the children of its devices.
        """
        if not self._lost.keys() <= there.keys():
            return True
        if any(isinstance(self._there[places].item, LINKS) for places in self._there if not lost.isdisjoint(places)):
            return True
        return any((child.node, child.parent) in lost for child in children)

    def _is_kept(self, held: _Held, leaving: AbstractSet[str]) -> bool:
        """Whether it is kept, possibly changed."""
        other = self._planned.get(held.places)
        if other is None or any(space in leaving for space, _ in held.places):
            return False
        return other.item is held.item or _can_become(held.item, other.item)

    def _depending_on(self, lost: AbstractSet[Place]) -> set[Place]:
        """The other devices that are removed with these."""
        return {
            place
            for held in self._there.values()
            if any(place in lost for place in held.below)
            for place in held.places
            if place not in lost
        }

    def lost_in(self, space: str) -> set[str]:
        """The devices of a space that are removed or recreated."""
        return self._lost.get(space, set())

    def _is_lost(self, held: _Held) -> bool:
        return any(name in self.lost_in(space) for space, name in held.places)

    def removals(self) -> Iterator[Remove]:
        for held in reversed(self._there.values()):
            # Dependent devices first: on some kernels their names would otherwise stay in use for a while.
            if self._is_lost(held):
                yield Remove(held.places[0][0], held.item)

    def makings(self) -> Iterator[Change]:
        for places, held in self._planned.items():
            before = self._there.get(places)
            if before is None or self._is_lost(before):
                yield Make(places[0][0], held.item)
            elif (before.item is not held.item and before.item != held.item) or self._lost_master(held):
                yield Replace(places[0][0], before.item, held.item)

    def _lost_master(self, held: _Held) -> bool:
        """Whether its bridge is recreated; for a datapath, whether one of its ports is."""
        if isinstance(held.item, Datapath):
            return not self.lost_in(held.places[0][0]).isdisjoint(held.item.ports)
        ends = (held.item.a, held.item.b) if isinstance(held.item, Veth) else (held.item,)
        return any(end.master in self.lost_in(space) for (space, _), end in zip(held.places, ends, strict=True))


def _can_become(one: Any, other: Any) -> bool:
    """Whether the kernel can change a device to the other without recreating it."""
    if isinstance(one, Veth) and isinstance(other, Veth):
        ends = ((one.a, other.a), (one.b, other.b))
        return one.is_netkit == other.is_netkit and all(_can_become(*pair) for pair in ends)
    if type(one) is not type(other):
        return False
    differing = {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}
    return differing <= _CHANGEABLE


def without_pods(plan: Plan) -> Plan:
    """The nodes and the fabric of a plan, without objects that depend on pods' devices."""
    pods = {space.name for space in plan.of_kind(Kind.POD)}
    veths = tuple(veth for veth in plan.veths if not pods & {veth.a.space, veth.b.space})
    late: dict[str, set[str]] = {}
    for veth in plan.veths:
        if pods & {veth.a.space, veth.b.space}:
            for end in (veth.a, veth.b):
                late.setdefault(end.space, set()).add(end.name)
    return replace(
        plan,
        spaces=tuple(
            without_devices(space, late.get(space.name, set())) for space in plan.spaces if space.name not in pods
        ),
        veths=veths,
        children=tuple(child for child in plan.children if child.space not in pods),
        plugged=(),
    )


def without_devices(space: Space, devices: AbstractSet[str]) -> Space:
    """A space without objects that depend on these devices."""
    if not devices:
        return space
    objects = (item for item in space.objects if devices.isdisjoint(_DEVICES.get(type(item), lambda item: ())(item)))
    own = (_bpf_without(item, devices) if isinstance(item, Bpf) else item for item in objects)
    return replace(space, objects=tuple(own))


def _bpf_without(bpf: Bpf, devices: AbstractSet[str]) -> Bpf:
    return replace(
        bpf,
        hooks=tuple(hook for hook in bpf.hooks if hook.dev not in devices),
        entries=tuple(entry for entry in bpf.entries if entry.dev not in devices),
    )
