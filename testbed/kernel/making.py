"""Make and change what the new plan has.

One batch of netlink requests for each namespace and phase. Interface indices are the plan's, so none is looked up,
except those of the kernel's own tunnel devices.
"""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from testbed.kernel import bpf, encode
from testbed.kernel.by_tools import apply_by_tools
from testbed.kernel.changes import Changes, Work, is_kernels_own, numbers
from testbed.kernel.datapath import change_datapath, make_datapath
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.kernel.offload import switch_checksums, switch_offloads
from testbed.kernel.refusal import Namespaces, PlanRefused, inside, refused_in
from testbed.kernel.sysctls import Sysctls
from testbed.kernel.tun import make_tun
from testbed.plan.messages import IndexOf, Request
from testbed.plan.objects import (
    LINKS,
    LOCAL_TABLE,
    Bpf,
    Child,
    Datapath,
    Device,
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
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.rules import no_rule
from testbed.plan.shell import object_of

Roots = Mapping[str, Path]
"""The root folder by space, of those with private folders."""
MOST_THREADS = 4
_WITHOUT_NETLINK: Mapping[type, Callable[[Any], None]] = {Tun: make_tun, Datapath: make_datapath}
"""Functions that make devices without netlink, by type."""
LEAST_ITEMS = 4
"""Of a thread: starting one takes as long as the work for a few items."""
T = TypeVar("T")


class Making:
    """Makes everything in steps, each of which depends on those before it."""

    def __init__(
        self, changes: Changes, old: Plan | None, new: Plan, namespaces: dict[str, Namespace], roots: Roots
    ) -> None:
        self._changes = changes
        self._old, self._new = old, new
        self._namespaces, self._roots = namespaces, roots
        self._fresh = {space.name for space in changes.fresh}
        self._devices = changes.devices()
        self._far = _far_ends(changes, new)

    def all(self) -> None:
        """Raises PlanRefused."""
        pods = [space for space in self._changes.fresh if space.kind is Kind.POD]
        _at_once(lambda part: _create(part, self._namespaces), pods)
        self._settings({space.name for space in pods})
        _load_programs(self._changes, self._roots)
        self._links()
        self._send_all(_cables(self._changes, self._new, self._namespaces))
        # Lower devices first: the MTU of an upper one cannot exceed theirs.
        for rank in (Veth, LINKS):
            self._send_all(_device_changes(self._changes, self._new, rank))
        self._send_all(self._children())
        self._send_all(_device_changes(self._changes, self._new, Child))
        _at_once(self._finish, tuple(dict.fromkeys((*self._fresh, *self._changes.works, *self._far, *self._devices))))
        _switch_features(self._changes, self._new, self._namespaces)
        self._apply_by_tools()

    def _send_all(self, batches: Iterable[tuple[str, list[Request]]]) -> None:
        for name, batch in batches:
            with inside(name, self._namespaces):
                send(batch)

    def _settings(self, done: Container[str]) -> None:
        """Write sysctls that belong to no device, except in the spaces `done`."""
        with Sysctls() as settings:
            for name, work in self._changes.works.items():
                own = [] if name in done else [item for item in work.coming(Sysctl) if not item.dev]
                if own:
                    with inside(name, self._namespaces):
                        settings.write(own)

    def _links(self) -> None:
        """Make the devices that depend on no other."""
        for name, links in self._changes.links.items():
            if early := [link for link in links if not _needs_cables(link)]:
                with inside(name, self._namespaces):
                    _make_links(early, numbers(self._new, name))

    def _children(self) -> Iterable[tuple[str, list[Request]]]:
        """Requests for devices that share a parent, by the namespace of the parent, in which they are sent."""
        requests: dict[str, list[Request]] = {}
        for child in self._changes.children:
            parent = self._new.device(child.node, child.parent).index
            request = encode.new_child(child, parent, self._namespaces[child.space].fd)
            requests.setdefault(child.node, []).append(request)
        return requests.items()

    def _finish(self, names: Sequence[str]) -> None:
        """Make what depends on devices, in these spaces."""
        with Sysctls() as settings:
            for name in names:
                with inside(name, self._namespaces):
                    self._finish_inside(name, settings)

    def _finish_inside(self, name: str, settings: Sysctls) -> None:
        work, made = self._changes.works.get(name) or Work(), self._devices.get(name, {})
        index_of = numbers(self._new, name)
        batch = [*([encode.link_up(encode.LOOPBACK)] if name in self._fresh else []), *self._far.get(name, ())]
        late = [link for link in self._changes.links.get(name, ()) if _needs_cables(link)]
        special = [item for item in work.coming(Sysctl) if item.dev]
        if late or special:
            send(batch)
            batch = []
            _make_links(late, index_of)
            settings.write(special)
        send([*batch, *_entries(work, index_of)])
        _program(work, made, index_of, self._roots.get(name))
        if limited := [dev for dev in self._new.without_offload(name) if dev in made]:
            switch_offloads(limited, on=False)
        if limited := [dev for dev in self._new.without_checksums(name) if dev in made]:
            switch_checksums(limited, on=False)

    def _apply_by_tools(self) -> None:
        changes, old = self._changes, self._old
        before = {name: old[name] for name in changes.works if old and old.has(name) and name not in self._fresh}
        try:
            apply_by_tools(changes.works, changes.changing, self._devices, before, self._new, self._namespaces)
        except OSError as error:
            raise PlanRefused(str(error)) from error


def _load_programs(changes: Changes, roots: Roots) -> None:
    """Compile each eBPF program once, and load it."""
    files: dict[str, Path] = {}
    for name, work in changes.works.items():
        for item in work.made:
            if isinstance(item, Bpf):
                with refused_in(name):
                    file = object_of(item)
                    files[file] = files.get(file) or bpf.compiled(item)
                    bpf.load(item, files[file], roots[name])


def _at_once(work: Callable[[Sequence[T]], None], items: Sequence[T]) -> None:
    """Share the work between threads, one for each CPU.

    The kernel makes namespaces on several CPUs in parallel. It changes devices and routes on only one, but meanwhile
    other threads can prepare requests.
    """
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS, len(items) // LEAST_ITEMS)
    if threads < 2:
        work(items)
        return
    with ThreadPoolExecutor(threads) as pool:
        for part in [pool.submit(work, items[number::threads]) for number in range(threads)]:
            part.result()


def _create(spaces: Sequence[Space], namespaces: dict[str, Namespace]) -> None:
    """Make a namespace for each of these spaces and write its sysctls, before there are devices to inherit them."""
    differing: dict[tuple[Sysctl, ...], tuple[Sysctl, ...]] = {}
    with Sysctls() as settings, closing(Namespace.create_many(len(spaces))) as created:
        for space, namespace in zip(spaces, created, strict=False):
            namespaces[space.name] = namespace
            with refused_in(space.name):
                own = tuple(item for item in space.of(Sysctl) if not item.dev)
                if own not in differing:
                    # New namespaces are equal, so the first one shows which sysctls differ in all.
                    differing[own] = settings.differing(own)
                settings.write(differing[own])


def _program(work: Work, made: Mapping[str, Device], index_of: IndexOf, root: Path | None) -> None:
    """Attach eBPF programs to devices of the calling thread's namespace, and fill their maps."""
    for item in work.made:
        if isinstance(item, Bpf):
            assert root
            bpf.change(None, item, made, index_of, root)
    for before, item in work.replaced:
        if isinstance(item, Bpf):
            assert root
            bpf.change(before, item, made, index_of, root)


def _make_links(links: Sequence[Link], index_of: IndexOf) -> None:
    """Make these devices in the calling thread's namespace."""
    send(encode.new_link(link, index_of) for link in links if LINK_KINDS[type(link)].data)
    for link in links:
        if make := _WITHOUT_NETLINK.get(type(link)):
            make(link)


def _needs_cables(link: Link) -> bool:
    return LINK_KINDS[type(link)].needs_cables(link)


def _near_and_far(veth: Veth) -> tuple[VethEnd, VethEnd]:
    """The end from which a pair is made (a port of a bridge, if one is), and the other."""
    return (veth.a, veth.b) if veth.a.master or veth.is_netkit else (veth.b, veth.a)


def _cables(changes: Changes, plan: Plan, namespaces: Namespaces) -> Iterable[tuple[str, list[Request]]]:
    """Requests for veth pairs, by the namespace in which they are sent.

    The same request makes the near end a port of its bridge and sets it up; the kernel refuses to set up the far end
    before the pair is complete.
    """
    requests: dict[str, list[Request]] = {}
    for veth in changes.veths:
        here, there = _near_and_far(veth)
        request = encode.new_veth(here, there, namespaces[there.space].fd, _master(plan, here), veth.is_netkit)
        requests.setdefault(here.space, []).append(request)
    return requests.items()


def _far_ends(changes: Changes, plan: Plan) -> dict[str, list[Request]]:
    """Requests that set up the far ends of pairs, as ports of their bridges, and devices that share a parent."""
    requests: dict[str, list[Request]] = {}
    for veth in changes.veths:
        _, there = _near_and_far(veth)
        requests.setdefault(there.space, []).append(encode.link_up(there.index, _master(plan, there), there.arp))
    for child in changes.children:
        requests.setdefault(child.space, []).append(encode.link_up(child.index))
    return requests


def _master(plan: Plan, end: VethEnd) -> int | None:
    return None if end.master is None else plan.device(end.space, end.master).index


def _device_changes(changes: Changes, plan: Plan, rank: type | tuple[type, ...]) -> Iterable[tuple[str, list[Request]]]:
    """Netlink requests that change devices of these types, by space."""
    requests: dict[str, list[Request]] = {}
    for space, old, new in changes.changing:
        if not isinstance(new, rank):
            continue
        for place, before, device in _ends_of(space, old, new):
            master = plan.device(place, device.master).index if device.master else 0
            is_numbered = not is_kernels_own(device)
            request = encode.set_link(
                device.index if is_numbered else 0,
                mtu=device.mtu,
                mac=device.mac if before.mac != device.mac else "",
                master=master if device.master or before.master else None,
                arp=getattr(device, "arp", True),
                promiscuous=getattr(device, "promiscuous", False),
                name="" if is_numbered else device.name,
            )
            requests.setdefault(place, []).append(request)
    return requests.items()


def _ends_of(space: str, old: Any, new: Any) -> tuple[tuple[str, Device, Device], ...]:
    if isinstance(new, Veth):
        return (new.a.space, old.a, new.a), (new.b.space, old.b, new.b)
    return ((space, old, new),)


def _switch_features(changes: Changes, plan: Plan, namespaces: Namespaces) -> None:
    """Change offloads of devices, and flows of datapaths."""
    for space, old, new in changes.changing:
        for place, before, device in _ends_of(space, old, new):
            with inside(place, namespaces):
                for name, switch in (("offload", switch_offloads), ("checksums", switch_checksums)):
                    wanted = getattr(device, name, True) and (plan.offload or name != "offload")
                    if getattr(before, name, True) != getattr(device, name, True):
                        switch([device.name], on=wanted)
                if isinstance(before, Datapath) and isinstance(device, Datapath):
                    change_datapath(before, device)


def _entries(work: Work, index_of: IndexOf) -> Iterator[Request]:
    """Requests for objects that need devices, and for replaced ones."""
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
