"""The difference of two plans: what is to be made, removed and replaced so that one becomes the other.

Bringing a lab up is the difference of nothing and a plan. Whatever is the same in both is in no change, so that nobody
notices one who takes no part in it.

What hangs on a device goes with it. So of a device that goes nothing else is removed one by one; and where a device has
to be made anew, because the kernel cannot change what differs, all that hangs on it is made anew as well.
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
    Plan,
    Route,
    SegmentSource,
    Space,
    Sysctl,
    Veth,
    Vxlan,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.parts import unlike

Place = tuple[str, str]
"""A device: its space and its name."""


class Make(NamedTuple):
    """Something that is not there yet."""

    space: str
    item: Any


class Remove(NamedTuple):
    """Something that is to go."""

    space: str
    item: Any


class Replace(NamedTuple):
    """Something that is to take the place of what has the same key."""

    space: str
    old: Any
    new: Any


Change = Make | Remove | Replace

OBSERVED = (LearnedRoute, CutRoute, DownDevice, NftTable)
"""What others put there, or took away: it is looked for, and not made."""
_CHANGEABLE = frozenset(
    ("mtu", "mac", "master", "offload", "checksums", "arp", "promiscuous", "peers", "flows", "ports")
)
"""What of a device can be changed while it is there; where anything else differs it is made anew."""
_KEYS: Mapping[type, Callable[[Any], Hashable]] = {
    **{kind.type: kind.key for kind in KINDS.values()},
    Sysctl: lambda item: item.key,
    File: lambda item: item.path,
    Bpf: lambda item: None,
    SegmentSource: lambda item: None,
    Esp: lambda item: (item.local, item.remote, item.port, item.mark),
}
"""What objects of one kind in one space are told apart by; all that is not here by all that they are."""
_DEVICES: Mapping[type, Callable[[Any], Collection[str]]] = {
    **{kind.type: kind.devices for kind in KINDS.values()},
    Sysctl: lambda item: (item.dev,) if item.dev else (),
}
"""The devices that objects hang on."""


def _itself(item: Hashable) -> Hashable:
    return item


def _none(item: Any) -> Collection[str]:
    return ()


def _hooked(bpf: Bpf) -> Collection[str]:
    """The devices whose programs are to be hung again when they are made anew."""
    return {hook.dev for hook in bpf.hooks}


def diff(old: Plan | None, new: Plan) -> tuple[Change, ...]:
    """The changes, in an order that works: removals, what hangs on something first; then the rest, the other way."""
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
        # Most spaces are the very same in a change, and nothing that they have is made anew.
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
    """The names of the spaces that are not the very same in both plans, or share devices that are not."""
    names: dict[str, None] = {}
    for found in (unlike(old, new), unlike(new, old)):
        names.update((space.name, None) for space in found.spaces)
        names.update((end.space, None) for veth in found.veths for end in (veth.a, veth.b))
        names.update((name, None) for child in found.children for name in (child.space, child.node))
    return tuple(names)


def _differing(plan: Plan, other: Plan) -> Plan:
    """What of a plan is not the very same in the other one."""
    return replace(plan, **unlike(plan, other)._asdict())


def _is_same(one: Space | None, other: Space) -> bool:
    """Whether it is the same namespace; a pod of another node is another one, whatever its name."""
    return one is not None and (one.kind, one.node) == (other.kind, other.node)


def _entries(old: Space, new: Space, lost: AbstractSet[str]) -> Iterator[Change]:
    """What changes in a space beside its devices, of which some are lost with all that hangs on them."""
    poorer = _losing_addresses(old, new)
    for kind in dict.fromkeys((*old.types, *new.types)):
        if kind in LINKS or kind in OBSERVED:
            continue
        key, devices = _KEYS.get(kind, _itself), _DEVICES.get(kind, _none)
        touching = _hooked if kind is Bpf else devices
        one: tuple[Any, ...] = old.of(kind)
        other: tuple[Any, ...] = new.of(kind)
        shaken = lost | poorer if kind in (DeviceAddress, Route) else lost
        if one is other and not shaken:
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
            elif (before is not item and before != item) or not shaken.isdisjoint(touching(item)):
                yield Replace(new.name, before, item)


def _losing_addresses(old: Space, new: Space) -> AbstractSet[str]:
    """The devices that lose an address: with it the kernel may drop others of its subnet, and routes by the device."""
    planned = set(new.of(DeviceAddress))
    return {item.dev for item in old.of(DeviceAddress) if item not in planned}


def _is_lost(devices: Collection[str], lost: AbstractSet[str]) -> bool:
    """Whether something goes with the devices that it hangs on: with all of them."""
    return bool(devices) and all(dev in lost for dev in devices)


class _Held(NamedTuple):
    """Something that makes devices: in a space of its own a link, between two a pair, or what shares another one."""

    item: Any
    places: tuple[Place, ...]
    below: tuple[Place, ...] = ()
    """The device that it goes with."""


def _held(plan: Plan) -> dict[tuple[Place, ...], _Held]:
    """By the places of their devices, which tell them apart."""
    found = [_in_space(space.name, link) for space in plan.spaces for link in space.links]
    found += (_Held(veth, ((veth.a.space, veth.a.name), (veth.b.space, veth.b.name))) for veth in plan.veths)
    found += (_Held(child, ((child.space, child.name),), ((child.node, child.parent),)) for child in plan.children)
    return {held.places: held for held in found}


def _in_space(space: str, link: Link) -> _Held:
    below = ((space, link.dev),) if isinstance(link, Vxlan) and link.dev else ()
    return _Held(link, ((space, link.name),), below)


class _Devices:
    """What becomes of devices: of those that are not the very same in both plans, or with `whole` of all."""

    def __init__(self, old: Plan, new: Plan, whole: bool = False) -> None:
        self.old, self.new = (old, new) if whole else (_differing(old, new), _differing(new, old))
        """What is looked at of either plan."""
        self._there, self._planned = _held(self.old), _held(self.new)
        there = {space.name: space for space in self.old.spaces}
        staying = {space.name for space in self.new.spaces if _is_same(there.get(space.name), space)}
        leaving = there.keys() - staying
        lost = {place for held in self._there.values() if not self._stays(held, leaving) for place in held.places}
        while more := self._hanging_on(lost):
            lost |= more
        self._lost: dict[str, set[str]] = {}
        for space, name in lost:
            self._lost.setdefault(space, set()).add(name)
        self.is_all = whole or not self._reach_further(lost, there, old.children)
        """Whether nothing changes but what is looked at."""

    def _reach_further(self, lost: AbstractSet[Place], there: Mapping[str, Space], children: Iterable[Child]) -> bool:
        """Whether what is the very same in both plans may hang on devices that are lost.

        In a space that is looked at all entries and links are, but not the ends of pairs that are ports of a bridge,
        nor devices that share another one.
        """
        if not self._lost.keys() <= there.keys():
            return True
        if any(isinstance(self._there[places].item, LINKS) for places in self._there if not lost.isdisjoint(places)):
            return True
        return any((child.node, child.parent) in lost for child in children)

    def _stays(self, held: _Held, leaving: AbstractSet[str]) -> bool:
        """Whether it is there afterwards, be it changed."""
        other = self._planned.get(held.places)
        if other is None or any(space in leaving for space, _ in held.places):
            return False
        return other.item is held.item or _can_become(held.item, other.item)

    def _hanging_on(self, lost: AbstractSet[Place]) -> set[Place]:
        """The devices that go with these, and are not among them."""
        return {
            place
            for held in self._there.values()
            if any(place in lost for place in held.below)
            for place in held.places
            if place not in lost
        }

    def lost_in(self, space: str) -> set[str]:
        """The devices of a space that go, those that are made anew among them."""
        return self._lost.get(space, set())

    def _is_lost(self, held: _Held) -> bool:
        return any(name in self.lost_in(space) for space, name in held.places)

    def removals(self) -> Iterator[Remove]:
        for held in reversed(self._there.values()):
            # What goes with the device below it goes first, as some kernels would leave its name taken for a while.
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
        """Whether the bridge that it is a port of is made anew, or a port of a datapath."""
        if isinstance(held.item, Datapath):
            return not self.lost_in(held.places[0][0]).isdisjoint(held.item.ports)
        ends = (held.item.a, held.item.b) if isinstance(held.item, Veth) else (held.item,)
        return any(end.master in self.lost_in(space) for (space, _), end in zip(held.places, ends, strict=True))


def _can_become(one: Any, other: Any) -> bool:
    """Whether the kernel can change the one device to the other while it is there."""
    if isinstance(one, Veth) and isinstance(other, Veth):
        ends = ((one.a, other.a), (one.b, other.b))
        return one.is_netkit == other.is_netkit and all(_can_become(*pair) for pair in ends)
    if type(one) is not type(other):
        return False
    differing = {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}
    return differing <= _CHANGEABLE


def without_pods(plan: Plan) -> Plan:
    """The nodes and the fabric of a plan, with nothing that hangs on devices which come with pods."""
    pods = {space.name for space in plan.of_kind(Kind.POD)}
    veths = tuple(veth for veth in plan.veths if not pods & {veth.a.space, veth.b.space})
    late: dict[str, set[str]] = {}
    for veth in plan.veths:
        if pods & {veth.a.space, veth.b.space}:
            for end in (veth.a, veth.b):
                late.setdefault(end.space, set()).add(end.name)
    return replace(
        plan,
        spaces=tuple(_without(space, late.get(space.name, set())) for space in plan.spaces if space.name not in pods),
        veths=veths,
        children=tuple(child for child in plan.children if child.space not in pods),
        plugged=(),
    )


def _without(space: Space, devices: AbstractSet[str]) -> Space:
    """A space without what hangs on these devices."""
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
