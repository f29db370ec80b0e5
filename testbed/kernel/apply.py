"""Applying changes of a plan to the kernel: what is to go is removed, what is to come is made, in an order that works.

One batch of netlink requests a namespace and phase; all device numbers are the plan's, so nothing is looked up, but
for those of the kernel's own tunnel devices.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from testbed.kernel import bpf, encode
from testbed.kernel.datapath import change_datapath, make_datapath, remove_datapath
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, remove, send
from testbed.kernel.offload import switch_checksums, switch_offloads
from testbed.kernel.sysctls import Sysctls
from testbed.kernel.told import tell_by_programs
from testbed.kernel.tun import make_tun
from testbed.plan.change import Change, Make, Remove, Replace, diff
from testbed.plan.messages import IndexOf, Request
from testbed.plan.objects import (
    LINKS,
    LOCAL_TABLE,
    Bpf,
    Child,
    Datapath,
    Device,
    IpTunnel,
    Kind,
    Link,
    Plan,
    RoutingRule,
    Space,
    Sysctl,
    Tun,
    Veth,
    VethEnd,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.rules import no_rule
from testbed.plan.shell import needs_cables, object_of

Namespaces = Mapping[str, Namespace]
Roots = Mapping[str, Path]
"""By space: where its own root folder is, of those that have folders of their own."""
MOST_THREADS = 4
LOOPBACK_NAME = "lo"
T = TypeVar("T")


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


@dataclass
class _Work:
    """What is to be done in one space beside its devices."""

    made: list[Any] = field(default_factory=list)
    removed: list[Any] = field(default_factory=list)
    replaced: list[tuple[Any, Any]] = field(default_factory=list)

    def coming(self, kind: type[T]) -> tuple[T, ...]:
        """The objects of that type that are made, or take another one's place."""
        return (
            *(item for item in self.made if type(item) is kind),
            *(new for _, new in self.replaced if type(new) is kind),
        )


class _Changes:
    """Changes sorted by what they are about."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.fresh: list[Space] = []
        self.gone: list[str] = []
        self.works: dict[str, _Work] = {}
        self.links: dict[str, list[Link]] = {}
        self.veths: list[Veth] = []
        self.children: list[Child] = []
        self.going: list[tuple[str, Any]] = []
        """Devices."""
        self.changing: list[tuple[str, Any, Any]] = []
        """Devices that stay, as they were and as they are to be."""
        for change in changes:
            self._sort(change)

    def _sort(self, change: Change) -> None:
        item = change.new if isinstance(change, Replace) else change.item
        match change:
            case Make(item=Space()):
                self.fresh.append(item)
            case Remove(item=Space()):
                self.gone.append(item.name)
            case Make(item=Veth()):
                self.veths.append(item)
            case Make(item=Child()):
                self.children.append(item)
            case Make() if isinstance(item, LINKS):
                self.links.setdefault(change.space, []).append(item)
            case Remove() if isinstance(item, (Veth, Child, *LINKS)):
                self.going.append((change.space, item))
            case Replace() if isinstance(item, (Veth, Child, *LINKS)):
                self.changing.append((change.space, change.old, item))
            case Make():
                self._work(change.space).made.append(item)
            case Remove():
                self._work(change.space).removed.append(item)
            case Replace():
                self._work(change.space).replaced.append((change.old, item))

    def _work(self, space: str) -> _Work:
        if space not in self.works:
            self.works[space] = _Work()
        return self.works[space]

    def devices(self) -> dict[str, dict[str, Device]]:
        """Those that are made, by space and name."""
        made: dict[str, dict[str, Device]] = {
            space: {link.name: link for link in links} for space, links in self.links.items()
        }
        for veth in self.veths:
            for end in (veth.a, veth.b):
                made.setdefault(end.space, {})[end.name] = end
        for child in self.children:
            made.setdefault(child.space, {})[child.name] = child
        return made


class Applied:
    """A change from one plan to another, applied in two steps: what is to go is removed, then what is to come is made.

    In between the caller lets go of namespaces that go. Before the second step all that come must be there, but those
    of pods, which are added here as they come. Both raise PlanRefused with the namespace and the command at fault.
    """

    def __init__(self, old: Plan | None, new: Plan) -> None:
        self._old, self._new = old, new
        self.changes = diff(old, new)
        self._sorted = _Changes(self.changes)

    @property
    def coming(self) -> tuple[Space, ...]:
        """The spaces that come."""
        return tuple(self._sorted.fresh)

    @property
    def going(self) -> tuple[str, ...]:
        """The names of the spaces that go; one may come again."""
        return tuple(self._sorted.gone)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all spaces in which something comes or changes."""
        touched = dict.fromkeys((*self._sorted.works, *self._sorted.devices()))
        return tuple(dict.fromkeys((*touched, *(space for space, _, _ in self._sorted.changing))))

    def remove(self, namespaces: Namespaces) -> None:
        """Removes what is to go; what is gone already is no failure."""
        if self._old is not None:
            _remove(self._sorted, self._old, self._new, namespaces)

    def make(self, namespaces: dict[str, Namespace], roots: Roots) -> None:
        """Makes what is to come, and changes what is to become another."""
        _make(self._sorted, self._old, self._new, namespaces, roots)


def bring_up(old: Plan | None, new: Plan, namespaces: dict[str, Namespace], roots: Roots) -> None:
    """Makes all of a plan, or of the rest of it, where nothing goes. Raises PlanRefused."""
    Applied(old, new).make(namespaces, roots)


def _remove(changes: _Changes, old: Plan, new: Plan, namespaces: Namespaces) -> None:
    for name, work in changes.works.items():
        if gone := [item for item in work.removed if type(item) in KINDS]:
            with _inside(name, namespaces):
                remove(_removals(gone, _numbers(old, name)))
        if settings := [item for item in work.removed if isinstance(item, Sysctl)]:
            _reset(name, settings, namespaces)
    requests: dict[str, list[Request]] = {}
    for space, item in changes.going:
        if isinstance(item, Datapath):
            with _inside(space, namespaces):
                remove_datapath(item)
            continue
        place, device = _end_to_remove(new, space, item)
        requests.setdefault(place, []).append(encode.no_link(device))
    for name, batch in requests.items():
        with _inside(name, namespaces):
            remove(batch)
    _keep_sizes(changes, new, namespaces)


def _removals(items: Sequence[Any], index_of: IndexOf) -> Iterator[Request]:
    """The last kind first."""
    for kind in reversed(tuple(KINDS.values())):
        yield from (kind.remove(item, index_of) for item in items if type(item) is kind.type)
        if kind.type is RoutingRule:
            local = [item for item in items if isinstance(item, RoutingRule) and item.table == LOCAL_TABLE]
            yield from (kind.make(replace(rule, priority=0), index_of) for rule in local)


def _end_to_remove(new: Plan, space: str, item: Link | Veth | Child) -> tuple[str, Device]:
    """Where a device is removed: of a pair at an end whose space stays, so that those of many pods are one batch."""
    if isinstance(item, Veth):
        end = next((end for end in (item.a, item.b) if new.has(end.space)), item.a)
        return end.space, end
    return space, item


def _keep_sizes(changes: _Changes, new: Plan, namespaces: Namespaces) -> None:
    """A bridge that loses a port may take another MTU, until it was once told its own."""
    bridges: dict[str, set[str]] = {}
    for _, item in changes.going:
        for end in (item.a, item.b) if isinstance(item, Veth) else ():
            if end.master and new.has(end.space):
                bridges.setdefault(end.space, set()).add(end.master)
    for name, names in bridges.items():
        there = [device for dev in names if (device := new.devices_of(name).get(dev))]
        fresh = {link.name for link in changes.links.get(name, ())}
        with _inside(name, namespaces):
            # Twice, as the same size as now would not count as told.
            send(
                encode.set_link(device.index, mtu=size)
                for device in there
                if device.name not in fresh
                for size in (device.mtu + 1, device.mtu)
            )


def _reset(name: str, settings: Sequence[Sysctl], namespaces: Namespaces) -> None:
    """What nobody has set any more is as in a new namespace."""
    own = [item for item in settings if not item.dev]
    fresh = Namespace.create()
    try:
        with fresh.entered(), Sysctls() as reading:
            values = reading.values(own)
    finally:
        fresh.close()
    with _inside(name, namespaces), Sysctls() as writing:
        writing.write(replace(item, value=values[item.key]) for item in own if item.key in values)


def _make(changes: _Changes, old: Plan | None, new: Plan, namespaces: dict[str, Namespace], roots: Roots) -> None:
    pods = [space for space in changes.fresh if space.kind is Kind.POD]
    fresh = {space.name for space in changes.fresh}
    _at_once(lambda part: _create(part, namespaces), pods)
    with Sysctls() as settings:
        for name, work in changes.works.items():
            if (own := [item for item in work.coming(Sysctl) if not item.dev]) and not (
                name in fresh and new[name].kind is Kind.POD
            ):
                with _inside(name, namespaces):
                    settings.write(own)
    _load_programs(changes, roots)
    for name, links in changes.links.items():
        if early := [link for link in links if not needs_cables(link)]:
            with _inside(name, namespaces):
                _make_links(early, _numbers(new, name))
    for name, batch in (*_cables(changes, new, namespaces), *_children(changes, new, namespaces)):
        with _inside(name, namespaces):
            send(batch)
    for rank in (Veth, LINKS, Child):
        # What is above another device cannot be larger.
        for name, batch in _device_changes(changes, new, rank).items():
            with _inside(name, namespaces):
                send(batch)
    far = _far_ends(changes, new)
    devices = changes.devices()

    def finish(names: Sequence[str]) -> None:
        with Sysctls() as settings:
            for name in names:
                with _inside(name, namespaces):
                    _finish(
                        name,
                        [encode.link_up(encode.LOOPBACK), *far.get(name, ())] if name in fresh else far.get(name, []),
                        [link for link in changes.links.get(name, ()) if needs_cables(link)],
                        changes.works.get(name) or _Work(),
                        devices.get(name, {}),
                        settings,
                    )

    def _finish(
        name: str,
        batch: list[Request],
        late: list[Link],
        work: _Work,
        made: Mapping[str, Device],
        settings: Sysctls,
    ) -> None:
        index_of = _numbers(new, name)
        special = [item for item in work.coming(Sysctl) if item.dev]
        if late or special:
            send(batch)
            batch = []
            _make_links(late, index_of)
            settings.write(special)
        send([*batch, *_entries(work, index_of)])
        _program(work, made, index_of, roots.get(name))
        if limited := [dev for dev in new.without_offload(name) if dev in made]:
            switch_offloads(limited, on=False)
        if limited := [dev for dev in new.without_checksums(name) if dev in made]:
            switch_checksums(limited, on=False)

    _at_once(finish, tuple(dict.fromkeys((*fresh, *changes.works, *far, *devices))))
    _change_kinds_of_devices(changes, new, namespaces)
    try:
        before = {space.name: space for space in old.spaces if space.name not in fresh} if old else {}
        tell_by_programs(changes.works, changes.changing, devices, before, new, namespaces)
    except OSError as error:
        raise PlanRefused(str(error)) from error


def _load_programs(changes: _Changes, roots: Roots) -> None:
    """eBPF programs, each compiled once."""
    files: dict[str, Path] = {}
    for name, work in changes.works.items():
        for item in work.made:
            if isinstance(item, Bpf):
                with _refused_in(name):
                    file = object_of(item)
                    files[file] = files.get(file) or bpf.compiled(item)
                    bpf.load(item, files[file], roots[name])


def _at_once(work: Callable[[Sequence[T]], None], items: Sequence[T]) -> None:
    """Has a thread for each CPU do its part of the work.

    The kernel makes namespaces on several CPUs at a time. It changes devices and routes on one alone, but meanwhile the
    next requests can be made ready.
    """
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS, len(items))
    if threads < 2:
        work(items)
        return
    with ThreadPoolExecutor(threads) as pool:
        for part in [pool.submit(work, items[number::threads]) for number in range(threads)]:
            part.result()


def _create(spaces: Sequence[Space], namespaces: dict[str, Namespace]) -> None:
    """Makes a namespace for each of these and puts the settings right in it, before there are devices to have them."""
    differing: dict[tuple[Sysctl, ...], tuple[Sysctl, ...]] = {}
    with Sysctls() as settings, closing(Namespace.create_many(len(spaces))) as created:
        for space, namespace in zip(spaces, created, strict=False):
            namespaces[space.name] = namespace
            with _refused_in(space.name):
                own = tuple(item for item in space.of(Sysctl) if not item.dev)
                if own not in differing:
                    # New namespaces are all alike: what is as it should be in the first one is so in the others.
                    differing[own] = settings.differing(own)
                settings.write(differing[own])


def _program(work: _Work, made: Mapping[str, Device], index_of: IndexOf, root: Path | None) -> None:
    """eBPF programs on the devices of the calling thread's namespace, and what their maps hold."""
    for item in work.made:
        if isinstance(item, Bpf):
            assert root
            bpf.change(None, item, made, index_of, root)
    for before, item in work.replaced:
        if isinstance(item, Bpf):
            assert root
            bpf.change(before, item, made, index_of, root)


def _make_links(links: Sequence[Link], index_of: IndexOf) -> None:
    """Makes these in the calling thread's namespace."""
    send(encode.new_link(link, index_of) for link in links if not isinstance(link, Tun | Datapath))
    for link in links:
        if isinstance(link, Tun):
            make_tun(link)
        elif isinstance(link, Datapath):
            make_datapath(link)


def _children(changes: _Changes, plan: Plan, namespaces: Namespaces) -> Iterable[tuple[str, list[Request]]]:
    """The requests for devices that share another one, by the namespace to send them in, that of the other one."""
    requests: dict[str, list[Request]] = {}
    for child in changes.children:
        parent = plan.device(child.node, child.parent).index
        request = encode.new_child(child, parent, namespaces[child.space].fd)
        requests.setdefault(child.node, []).append(request)
    return requests.items()


@contextmanager
def _inside(name: str, namespaces: Namespaces) -> Iterator[None]:
    with namespaces[name].entered(), _refused_in(name):
        yield


@contextmanager
def _refused_in(name: str) -> Iterator[None]:
    """What goes wrong is said to have gone wrong in that namespace."""
    try:
        yield
    except (KernelRefusal, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error


def _near_and_far(veth: Veth) -> tuple[VethEnd, VethEnd]:
    """The end that a pair is made from, a port of a bridge if there is one, and the other."""
    return (veth.a, veth.b) if veth.a.master or veth.is_netkit else (veth.b, veth.a)


def _cables(changes: _Changes, plan: Plan, namespaces: Namespaces) -> Iterable[tuple[str, list[Request]]]:
    """The requests for veth pairs, by the namespace to send them in.

    The end it is made from is enslaved and set up in the same request; the kernel refuses to set the other end up
    before the pair is whole.
    """
    requests: dict[str, list[Request]] = {}
    for veth in changes.veths:
        here, there = _near_and_far(veth)
        request = encode.new_veth(here, there, namespaces[there.space].fd, _master(plan, here), veth.is_netkit)
        requests.setdefault(here.space, []).append(request)
    return requests.items()


def _far_ends(changes: _Changes, plan: Plan) -> dict[str, list[Request]]:
    """The other end of each pair set up, and made a port of its bridge if it has one too; and devices that share."""
    requests: dict[str, list[Request]] = {}
    for veth in changes.veths:
        _, there = _near_and_far(veth)
        requests.setdefault(there.space, []).append(encode.link_up(there.index, _master(plan, there), there.arp))
    for child in changes.children:
        requests.setdefault(child.space, []).append(encode.link_up(child.index))
    return requests


def _master(plan: Plan, end: VethEnd) -> int | None:
    return None if end.master is None else plan.device(end.space, end.master).index


def _device_changes(changes: _Changes, plan: Plan, rank: type | tuple[type, ...]) -> dict[str, list[Request]]:
    """What of devices of these types that stay is put right by netlink, by space."""
    requests: dict[str, list[Request]] = {}
    for space, old, new in changes.changing:
        if not isinstance(new, rank):
            continue
        for place, before, device in _ends_of(space, old, new):
            master = plan.device(place, device.master).index if device.master else 0
            index = socket.if_nametoindex if _is_kernels_own(device) else None
            request = encode.set_link(
                index(device.name) if index else device.index,
                mtu=device.mtu,
                mac=device.mac if before.mac != device.mac else "",
                master=master if device.master or before.master else None,
                arp=getattr(device, "arp", True),
                promiscuous=getattr(device, "promiscuous", False),
            )
            requests.setdefault(place, []).append(request)
    return requests


def _ends_of(space: str, old: Any, new: Any) -> tuple[tuple[str, Device, Device], ...]:
    if isinstance(new, Veth):
        return (new.a.space, old.a, new.a), (new.b.space, old.b, new.b)
    return ((space, old, new),)


def _change_kinds_of_devices(changes: _Changes, plan: Plan, namespaces: Namespaces) -> None:
    """Offloads, and flows of datapaths."""
    for space, old, new in changes.changing:
        for place, before, device in _ends_of(space, old, new):
            with _inside(place, namespaces):
                for name, switch in (("offload", switch_offloads), ("checksums", switch_checksums)):
                    wanted = getattr(device, name, True) and (plan.offload or name != "offload")
                    if getattr(before, name, True) != getattr(device, name, True):
                        switch([device.name], on=wanted)
                if isinstance(before, Datapath) and isinstance(device, Datapath):
                    change_datapath(before, device)


def _is_kernels_own(device: Device) -> bool:
    return isinstance(device, IpTunnel) and not device.local


def _numbers(plan: Plan, space: str) -> IndexOf:
    """The numbers of devices of the space that the calling thread is in."""

    def index_of(name: str) -> int:
        if name == LOOPBACK_NAME:
            return encode.LOOPBACK
        device = plan.device(space, name)
        return socket.if_nametoindex(name) if _is_kernels_own(device) else device.index

    return index_of


def _entries(work: _Work, index_of: IndexOf) -> Iterator[Request]:
    """What needs devices to be there, and what takes the place of another one."""
    for kind in KINDS.values():
        yield from (kind.make(item, index_of) for item in work.made if type(item) is kind.type)
        for old, new in work.replaced:
            if type(new) is kind.type:
                if kind.replace:
                    yield kind.replace(new, index_of)
                else:
                    yield kind.remove(old, index_of)
                    yield kind.make(new, index_of)
        if kind.type is RoutingRule:
            local = (item for item in work.made if isinstance(item, RoutingRule) and item.table == LOCAL_TABLE)
            yield from (no_rule(replace(rule, priority=0)) for rule in local)
