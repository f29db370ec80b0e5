"""Carrying out a plan: every object of it brought into namespaces that are already there.

One batch of netlink requests a namespace and phase; all device numbers are the plan's, so nothing is looked up, but
for those of the kernel's own tunnel devices.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from testbed.kernel import encode
from testbed.kernel.bpf import compiled, fill, hang, load
from testbed.kernel.datapath import make_datapath
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, Request, send
from testbed.kernel.offload import switch_checksums_off, switch_offloads_off
from testbed.kernel.sysctls import Sysctls
from testbed.kernel.told import tell_by_programs
from testbed.kernel.tun import make_tun
from testbed.plan.objects import (
    LOCAL_TABLE,
    Child,
    Datapath,
    DeviceAddress,
    FdbEntry,
    IpTunnel,
    Kind,
    Link,
    Neighbour,
    Netem,
    Plan,
    Route,
    RoutingRule,
    Space,
    Sysctl,
    TokenBucket,
    Tun,
    Veth,
    VethEnd,
)
from testbed.plan.shell import needs_cables, object_of

Namespaces = Mapping[str, Namespace]
Roots = Mapping[str, Path]
"""By space: where its own root folder is, of those that have folders of their own."""
MOST_THREADS = 4
LOOPBACK_NAME = "lo"
T = TypeVar("T")


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


def make_nodes(plan: Plan, namespaces: Namespaces, roots: Roots) -> None:
    """Brings up all but the pods: nodes and fabric, each in its namespace, which must be empty.

    Raises PlanRefused with the namespace and the command at fault.
    """
    spaces = [space for space in plan.spaces if space.kind is not Kind.POD]
    with Sysctls() as settings:
        for space in spaces:
            with _inside(space.name, namespaces):
                settings.write(_own(space))
    _load_programs(spaces, roots)
    _wire(plan, namespaces, roots, spaces, [veth for veth in plan.veths if not _is_pods(plan, veth)])
    try:
        tell_by_programs(plan, namespaces)
    except OSError as error:
        raise PlanRefused(str(error)) from error


def _load_programs(spaces: Sequence[Space], roots: Roots) -> None:
    """eBPF programs, each compiled once."""
    files: dict[str, Path] = {}
    for space in spaces:
        if bpf := space.bpf:
            with _refused_in(space.name):
                name = object_of(bpf)
                files[name] = files.get(name) or compiled(bpf)
                load(files[name], roots[space.name])


def _own(space: Space) -> tuple[Sysctl, ...]:
    """A namespace's settings without those of its devices, which are not there yet."""
    return tuple(item for item in space.of(Sysctl) if not item.dev)


def attach_pods(plan: Plan, namespaces: dict[str, Namespace], roots: Roots) -> None:
    """Makes the pods, with a namespace each, their cables, and what a node has on its ends of them.

    Their namespaces are added to the others as they come. Raises PlanRefused.
    """
    pods = plan.of_kind(Kind.POD)
    _at_once(lambda part: _create(part, namespaces), pods)
    _wire(plan, namespaces, roots, pods, [veth for veth in plan.veths if _is_pods(plan, veth)])


def _at_once(work: Callable[[Sequence[T]], None], items: Sequence[T]) -> None:
    """Has a thread for each CPU do its part of the work.

    The kernel makes namespaces on several CPUs at a time. It changes devices and routes on one alone, but meanwhile the
    next requests can be made ready.
    """
    threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
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
                own = _own(space)
                if own not in differing:
                    # New namespaces are all alike: what is as it should be in the first one is so in the others.
                    differing[own] = settings.differing(own)
                settings.write(differing[own])


def _is_pods(plan: Plan, veth: Veth) -> bool:
    return Kind.POD in (plan[veth.a.space].kind, plan[veth.b.space].kind)


def _wire(plan: Plan, namespaces: Namespaces, roots: Roots, spaces: Sequence[Space], cables: Sequence[Veth]) -> None:
    """Brings up what is in these namespaces, and these cables between them or to others."""
    for space in spaces:
        if space.links:
            with _inside(space.name, namespaces):
                _make_links(plan, space, [link for link in space.links if not needs_cables(link)])
    for name, batch in _cables(plan, cables, namespaces).items():
        with _inside(name, namespaces):
            send(batch)
    fresh = {space.name for space in spaces}
    children = [child for child in plan.children if child.space in fresh]
    for name, batch in _children(plan, children, namespaces).items():
        with _inside(name, namespaces):
            send(batch)
    far = _far_ends(plan, cables)
    for child in children:
        far.setdefault(child.space, []).append(encode.link_up(child.index))
    devices = _devices(spaces, cables, children)

    def finish(names: Sequence[str]) -> None:
        with Sysctls() as settings:
            for name in names:
                space, own = plan[name], devices[name]
                with _inside(name, namespaces):
                    batch = [encode.link_up(encode.LOOPBACK)] if name in fresh else []
                    batch += far.get(name, ())
                    late = [link for link in space.links if needs_cables(link)] if name in fresh else []
                    special = [item for item in space.of(Sysctl) if item.dev in own]
                    if late or special:
                        send(batch)
                        batch = []
                        _make_links(plan, space, late)
                        settings.write(special)
                    send([*batch, *_settled(plan, space, own, name in fresh)])
                    _program(plan, space, own, name in fresh, roots)
                    if limited := [dev for dev in plan.without_offload(name) if dev in own]:
                        switch_offloads_off(limited)
                    if limited := [dev for dev in plan.without_checksums(name) if dev in own]:
                        switch_checksums_off(limited)

    _at_once(finish, tuple(devices))


def _program(plan: Plan, space: Space, devices: set[str], is_fresh: bool, roots: Roots) -> None:
    """Hangs a space's eBPF programs on these devices, and has their maps know of them."""
    if space.bpf is None:
        return
    fill((item for item in space.bpf.entries if item.dev in devices or (is_fresh and not item.dev)), roots[space.name])
    hooks = [hook for hook in space.bpf.hooks if hook.dev in devices]
    hang(hooks, lambda dev: plan.device(space.name, dev).index, roots[space.name])


def _make_links(plan: Plan, space: Space, links: Sequence[Link]) -> None:
    """Makes these in the calling thread's namespace."""

    def index_of(name: str) -> int:
        return plan.device(space.name, name).index

    send(encode.new_link(link, index_of) for link in links if not isinstance(link, Tun | Datapath))
    for link in links:
        if isinstance(link, Tun):
            make_tun(link)
        elif isinstance(link, Datapath):
            make_datapath(link)


def _children(plan: Plan, children: Sequence[Child], namespaces: Namespaces) -> dict[str, list[Request]]:
    """The requests for devices that share another one, by the namespace to send them in, that of the other one."""
    requests: dict[str, list[Request]] = {}
    for child in children:
        parent = plan.device(child.node, child.parent).index
        request = encode.new_child(child, parent, namespaces[child.space].fd)
        requests.setdefault(child.node, []).append(request)
    return requests


def _devices(spaces: Sequence[Space], cables: Sequence[Veth], children: Sequence[Child]) -> dict[str, set[str]]:
    """The names of the devices that these spaces hold and these cables end in, by space."""
    devices = {space.name: {link.name for link in space.links} for space in spaces}
    for veth in cables:
        for end in (veth.a, veth.b):
            devices.setdefault(end.space, set()).add(end.name)
    for child in children:
        devices[child.space].add(child.name)
    return devices


@contextmanager
def _inside(name: str, namespaces: Namespaces) -> Iterator[None]:
    with namespaces[name].entered(), _refused_in(name):
        yield


@contextmanager
def _refused_in(name: str) -> Iterator[None]:
    """What goes wrong is said to have gone wrong in that namespace."""
    try:
        yield
    except (KernelRefusal, encode.NotByNetlink, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error


def _near_and_far(veth: Veth) -> tuple[VethEnd, VethEnd]:
    """The end that a pair is made from, a port of a bridge if there is one, and the other."""
    return (veth.a, veth.b) if veth.a.master or veth.is_netkit else (veth.b, veth.a)


def _cables(plan: Plan, cables: Sequence[Veth], namespaces: Namespaces) -> dict[str, list[Request]]:
    """The requests for these veth pairs, by the namespace to send them in.

    The end it is made from is enslaved and set up in the same request; the kernel refuses to set the other end up
    before the pair is whole.
    """
    requests: dict[str, list[Request]] = {}
    for veth in cables:
        here, there = _near_and_far(veth)
        request = encode.new_veth(here, there, namespaces[there.space].fd, _master(plan, here), veth.is_netkit)
        requests.setdefault(here.space, []).append(request)
    return requests


def _far_ends(plan: Plan, cables: Sequence[Veth]) -> dict[str, list[Request]]:
    """The other end of each pair set up, and made a port of its bridge if it has one too."""
    requests: dict[str, list[Request]] = {}
    for veth in cables:
        _, there = _near_and_far(veth)
        requests.setdefault(there.space, []).append(encode.link_up(there.index, _master(plan, there), there.arp))
    return requests


def _master(plan: Plan, end: VethEnd) -> int | None:
    return None if end.master is None else plan.device(end.space, end.master).index


def _settled(plan: Plan, space: Space, devices: set[str], is_fresh: bool) -> Iterator[Request]:
    """What needs these devices to be there: addresses, neighbours, forwarding entries, routes, limits."""

    def index(dev: str) -> int:
        if dev == LOOPBACK_NAME:
            return encode.LOOPBACK
        device = plan.device(space.name, dev)
        is_kernels_own = isinstance(device, IpTunnel) and not device.local
        return socket.if_nametoindex(dev) if is_kernels_own else device.index

    if is_fresh:
        devices = {*devices, LOOPBACK_NAME}
    yield from (encode.new_address(item, index(item.dev)) for item in space.of(DeviceAddress) if item.dev in devices)
    yield from (encode.new_neighbour(item, index(item.dev)) for item in space.of(Neighbour) if item.dev in devices)
    yield from (encode.new_fdb_entry(item, index(item.dev)) for item in space.of(FdbEntry) if item.dev in devices)
    for route in space.of(Route):
        if not devices.isdisjoint(route.devices) or (is_fresh and not route.devices):
            yield encode.new_route(route, index)
    if is_fresh:
        yield from map(encode.new_rule, space.of(RoutingRule))
        local = (rule for rule in space.of(RoutingRule) if rule.table == LOCAL_TABLE)
        yield from (encode.no_rule(replace(rule, priority=0)) for rule in local)
    yield from (encode.new_token_bucket(item, index(item.dev)) for item in space.of(TokenBucket) if item.dev in devices)
    yield from (encode.new_netem(item, index(item.dev)) for item in space.of(Netem) if item.dev in devices)
