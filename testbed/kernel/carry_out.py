"""Carrying out a plan: every object of it brought into namespaces that are already there.

One batch of netlink requests a namespace and phase; all device numbers are the plan's, so nothing is looked up.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, Request, send
from testbed.kernel.offload import switch_offloads_off
from testbed.kernel.sysctls import Sysctls
from testbed.plan.objects import Kind, Plan, Space, Sysctl, Veth, VethEnd

Namespaces = Mapping[str, Namespace]
MOST_THREADS = 4
T = TypeVar("T")


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


def make_nodes(plan: Plan, namespaces: Namespaces) -> None:
    """Brings up all but the pods: nodes and fabric, each in its namespace, which must be empty.

    Raises PlanRefused with the namespace and the command at fault.
    """
    spaces = [space for space in plan.spaces if space.kind is not Kind.POD]
    with Sysctls() as settings:
        for space in spaces:
            with _inside(space.name, namespaces):
                settings.write(space.sysctls)
    _wire(plan, namespaces, spaces, [veth for veth in plan.veths if not _is_pods(plan, veth)])


def attach_pods(plan: Plan, namespaces: dict[str, Namespace]) -> None:
    """Makes the pods, with a namespace each, their cables, and what a node has on its ends of them.

    Their namespaces are added to the others as they come. Raises PlanRefused.
    """
    pods = plan.of_kind(Kind.POD)
    _at_once(lambda part: _create(part, namespaces), pods)
    _wire(plan, namespaces, pods, [veth for veth in plan.veths if _is_pods(plan, veth)])


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
                if space.sysctls not in differing:
                    # New namespaces are all alike: what is as it should be in the first one is so in the others.
                    differing[space.sysctls] = settings.differing(space.sysctls)
                settings.write(differing[space.sysctls])


def _is_pods(plan: Plan, veth: Veth) -> bool:
    return Kind.POD in (plan[veth.a.space].kind, plan[veth.b.space].kind)


def _wire(plan: Plan, namespaces: Namespaces, spaces: Sequence[Space], cables: Sequence[Veth]) -> None:
    """Brings up what is in these namespaces, and these cables between them or to others."""
    for space in spaces:
        if space.links:
            with _inside(space.name, namespaces):
                send(map(encode.new_link, space.links))
    for name, batch in _cables(plan, cables, namespaces).items():
        with _inside(name, namespaces):
            send(batch)
    fresh = {space.name for space in spaces}
    far = _far_ends(plan, cables)
    devices = _devices(spaces, cables)

    def finish(names: Sequence[str]) -> None:
        for name in names:
            with _inside(name, namespaces):
                loopback = [encode.link_up(encode.LOOPBACK)] if name in fresh else []
                send([*loopback, *far.get(name, ()), *_settled(plan, plan[name], devices[name])])
                if not plan.offload:
                    switch_offloads_off(devices[name])

    _at_once(finish, tuple(devices))


def _devices(spaces: Sequence[Space], cables: Sequence[Veth]) -> dict[str, set[str]]:
    """The names of the devices that these spaces hold and these cables end in, by space."""
    devices = {space.name: {link.name for link in space.links} for space in spaces}
    for veth in cables:
        for end in (veth.a, veth.b):
            devices.setdefault(end.space, set()).add(end.name)
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
    except (KernelRefusal, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error


def _near_and_far(veth: Veth) -> tuple[VethEnd, VethEnd]:
    """The end that a pair is made from, a port of a bridge if there is one, and the other."""
    return (veth.a, veth.b) if veth.a.master else (veth.b, veth.a)


def _cables(plan: Plan, cables: Sequence[Veth], namespaces: Namespaces) -> dict[str, list[Request]]:
    """The requests for these veth pairs, by the namespace to send them in.

    The end it is made from is enslaved and set up in the same request; the kernel refuses to set the other end up
    before the pair is whole.
    """
    requests: dict[str, list[Request]] = {}
    for veth in cables:
        here, there = _near_and_far(veth)
        request = encode.new_veth(here, there, namespaces[there.space].fd, _master(plan, here))
        requests.setdefault(here.space, []).append(request)
    return requests


def _far_ends(plan: Plan, cables: Sequence[Veth]) -> dict[str, list[Request]]:
    """The other end of each pair set up, and made a port of its bridge if it has one too."""
    requests: dict[str, list[Request]] = {}
    for veth in cables:
        _, there = _near_and_far(veth)
        requests.setdefault(there.space, []).append(encode.link_up(there.index, _master(plan, there)))
    return requests


def _master(plan: Plan, end: VethEnd) -> int | None:
    return None if end.master is None else plan.device(end.space, end.master).index


def _settled(plan: Plan, space: Space, devices: set[str]) -> Iterator[Request]:
    """What needs these devices to be there: addresses, neighbours, forwarding entries, routes, limits."""

    def index(dev: str) -> int:
        return plan.device(space.name, dev).index

    yield from (encode.new_address(item, index(item.dev)) for item in space.addresses if item.dev in devices)
    yield from (encode.new_neighbour(item, index(item.dev)) for item in space.neighbours if item.dev in devices)
    yield from (encode.new_fdb_entry(item, index(item.dev)) for item in space.fdb if item.dev in devices)
    yield from (encode.new_route(item, index(item.dev)) for item in space.routes if item.dev in devices)
    yield from (encode.new_token_bucket(item, index(item.dev)) for item in space.token_buckets if item.dev in devices)
