"""Carrying out a plan: every object of it brought into namespaces that are already there.

One batch of netlink requests a namespace and phase; all device numbers are the plan's, so nothing is looked up.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace, write_sysctls
from testbed.kernel.netlink import KernelRefusal, Request, send
from testbed.kernel.offload import switch_offloads_off
from testbed.plan.objects import Kind, Plan, Space, Veth, VethEnd

Namespaces = Mapping[str, Namespace]


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


def carry_out(plan: Plan, namespaces: Namespaces) -> None:
    """Brings all spaces of the plan into their namespaces, which must be empty.

    Raises PlanRefused with the namespace and the command at fault.
    """
    make_nodes(plan, namespaces)
    attach_pods(plan, namespaces)


def make_nodes(plan: Plan, namespaces: Namespaces) -> None:
    """Brings up all but the pods: nodes and fabric."""
    _carry_out(plan, namespaces, lambda kinds: Kind.POD not in kinds)


def attach_pods(plan: Plan, namespaces: Namespaces) -> None:
    """Brings up the pods, their cables, and what a node has on its ends of them."""
    _carry_out(plan, namespaces, lambda kinds: Kind.POD in kinds)


def _carry_out(plan: Plan, namespaces: Namespaces, is_part: Callable[[set[Kind]], bool]) -> None:
    """Brings up those spaces and cables of the plan that are of, or between, such kinds."""
    spaces = [space for space in plan.spaces if is_part({space.kind})]
    cables = [veth for veth in plan.veths if is_part({plan[veth.a.space].kind, plan[veth.b.space].kind})]
    made = _devices(spaces, cables)
    for space in spaces:
        with _inside(space.name, namespaces):
            write_sysctls((item.key, item.value, item.optional) for item in space.sysctls)
            send([encode.link_up(encode.LOOPBACK), *map(encode.new_link, space.links)])
    for requests in (_cables(plan, cables, namespaces), _far_ends(plan, cables)):
        for name, batch in requests.items():
            with _inside(name, namespaces):
                send(batch)
    for name, devices in made.items():
        with _inside(name, namespaces):
            send(_settled(plan, plan[name], devices))
            if not plan.offload:
                switch_offloads_off(devices)


def _devices(spaces: list[Space], cables: list[Veth]) -> dict[str, set[str]]:
    """The names of the devices that these spaces hold and these cables end in, by space."""
    devices = {space.name: {link.name for link in space.links} for space in spaces}
    for veth in cables:
        for end in (veth.a, veth.b):
            devices.setdefault(end.space, set()).add(end.name)
    return devices


@contextmanager
def _inside(name: str, namespaces: Namespaces) -> Iterator[None]:
    with namespaces[name].entered():
        try:
            yield
        except (KernelRefusal, OSError) as error:
            raise PlanRefused(f"in {name}: {error}") from error


def _near_and_far(veth: Veth) -> tuple[VethEnd, VethEnd]:
    """The end that a pair is made from, a port of a bridge if there is one, and the other."""
    return (veth.a, veth.b) if veth.a.master else (veth.b, veth.a)


def _cables(plan: Plan, cables: list[Veth], namespaces: Namespaces) -> dict[str, list[Request]]:
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


def _far_ends(plan: Plan, cables: list[Veth]) -> dict[str, list[Request]]:
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
