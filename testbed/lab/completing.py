"""Complete a lab's plan with the objects that CNI plugins created, read from the kernel.

All unplanned objects of nodes, and of pods that plugins attach, are attributed to the plugins.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Literal, NamedTuple, TypeVar, cast

from testbed.cni.result import GivenAddress, Result
from testbed.kernel.dumped import BUILT_IN
from testbed.kernel.links import number_of
from testbed.kernel.namespace import Namespace
from testbed.kernel.state import DeviceState, State, connected
from testbed.plan.objects import (
    Bridge,
    Child,
    CutRoute,
    DeviceAddress,
    DownDevice,
    Kind,
    Link,
    NftTable,
    Object,
    OtherLink,
    Plan,
    Route,
    Space,
    Sysctl,
    Veth,
    VethEnd,
)
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.routes import ordered
from testbed.plan.rulesets import Ruleset, iptables
from testbed.plan.rulesets.claims import claimed
from testbed.plan.rulesets.merge import Whole
from testbed.spec.types import Address

T = TypeVar("T", bound=Object)

Found = dict[str, DeviceState]
"""The unplanned devices of a space, by name."""


class _Made(NamedTuple):
    """The spaces of a node and its pods, and the devices between spaces, with all objects of plugins."""

    spaces: Mapping[str, Space]
    veths: tuple[Veth, ...]
    children: tuple[Child, ...]


class Completion:
    """Completes the successive plans of a lab; results for unchanged places are reused."""

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = namespaces
        self._made: dict[str, _Made] = {}
        """The last results, by node."""
        self._is_by_node = False
        """Whether both ends of every device pair were found, on the same node."""

    def completed(
        self,
        plan: Plan,
        states: Mapping[str, State],
        addresses: Mapping[str, tuple[Address, ...]],
        places: Iterable[str],
    ) -> Plan:
        """The plan with all unplanned objects of the states, and with the pods' addresses.

        `places` are the places whose plan or state has changed since the last call.
        """
        there = {plan[name].home for name in states}
        stale = there.intersection(plan[name].home for name in places)
        if not self._is_by_node or not self._find(plan, states, addresses, stale):
            self._find(plan, states, addresses, there)
        made = [self._made[space.name] for space in plan.of_kind(Kind.NODE) if space.name in there]
        spaces = {name: space for one in made for name, space in one.spaces.items()}
        mtus = [
            device.mtu
            for item in plan.plugged
            if item.space in addresses and (device := states[item.space].devices.get(item.ifname))
        ]
        return replace(
            plan,
            pod_mtu=min(mtus, default=plan.pod_mtu),
            spaces=tuple(spaces.get(space.name, space) for space in plan.spaces),
            veths=(*plan.veths, *chain.from_iterable(one.veths for one in made)),
            children=(*plan.children, *chain.from_iterable(one.children for one in made)),
        )

    def _find(
        self,
        plan: Plan,
        states: Mapping[str, State],
        addresses: Mapping[str, tuple[Address, ...]],
        nodes: Collection[str],
    ) -> bool:
        """Finds the objects of plugins on these nodes. Returns whether both ends of every pair are on the same node."""
        found = {name: _unplanned(plan, name, state) for name, state in states.items() if plan[name].home in nodes}
        known = {
            frozenset(((veth.a.space, veth.a.index), (veth.b.space, veth.b.index)))
            for node in self._made.keys() & set(nodes)
            for veth in self._made[node].veths
        }
        veths = tuple(_pairs(plan, found, self._namespaces, known))
        children = tuple(_children(plan, found))
        taken = {(end.space, end.name) for veth in veths for end in (veth.a, veth.b)}
        self._is_by_node = all(plan[veth.a.space].home == plan[veth.b.space].home for veth in veths) and not any(
            device.kind == "veth" and (name, device.name) not in taken
            for name, own in found.items()
            for device in own.values()
        )
        taken |= {(child.space, child.name) for child in children}
        spaces: dict[str, dict[str, Space]] = {node: {} for node in nodes}
        for name, own in found.items():
            rest = (device for device in own.values() if (name, device.name) not in taken)
            space = _completed(plan[name], states[name], tuple(map(_link, rest)))
            down = (DownDevice(dev) for dev, device in own.items() if not device.up)
            space = replace(space, objects=(*space.objects, *down))
            spaces[space.home][name] = replace(space, reached_at=addresses.get(name, space.reached_at))
        for node in nodes:
            own_veths = tuple(veth for veth in veths if plan[veth.a.space].home == node)
            own_children = tuple(child for child in children if child.node == node)
            self._made[node] = _Made(spaces[node], own_veths, own_children)
        return self._is_by_node


def _unplanned(plan: Plan, name: str, state: State) -> Found:
    planned = plan.devices_of(name)
    return {dev: device for dev, device in state.devices.items() if dev not in planned and dev not in BUILT_IN}


Pair = frozenset[tuple[str, int]]
"""The ends of a device pair, each with its place and interface index."""


def _pairs(
    plan: Plan, found: Mapping[str, Found], namespaces: Mapping[str, Namespace], known: Collection[Pair]
) -> Iterator[Veth]:
    """Pairs of unplanned veth ends. Each end has the index of the other, and the ID of the other's namespace.

    Indices are not sufficient, as the first devices of all pods have the same. For pairs that are not `known`, the
    kernel is asked for the namespace.
    """
    left = {
        (name, device.index): device for name, own in found.items() for device in own.values() if device.kind == "veth"
    }
    for (name, index), device in tuple(left.items()):
        if left.pop((name, index), None):
            # Usually the other end is on the same node; querying many nodes would take long.
            for place in sorted(found, key=lambda place: plan[place].home != plan[name].home):
                other = left.get((place, device.link))
                if not other or other.link != index:
                    continue
                ends = frozenset(((name, index), (place, other.index)))
                if ends in known or _is_beyond(device, namespaces[name], namespaces[place]):
                    del left[place, other.index]
                    yield Veth(_end(name, device), _end(place, other))
                    break


def _is_beyond(device: DeviceState, own: Namespace, other: Namespace) -> bool:
    """Whether a device's other end is in the namespace `other`."""
    if device.link_space is None:
        return own is other
    with own.entered():
        return number_of(other) == device.link_space


def _end(space: str, device: DeviceState) -> VethEnd:
    return VethEnd(space, device.name, device.index, device.mac, device.mtu, device.master or None, arp=device.arp)


def _children(plan: Plan, found: Mapping[str, Found]) -> Iterator[Child]:
    """Unplanned macvlan and ipvlan devices with a parent on their node."""
    for name, own in found.items():
        node = plan[name].home
        for device in own.values():
            parent = _numbered(plan, found, node, device.link)
            if device.kind in ("macvlan", "ipvlan") and parent:
                kind = cast('Literal["macvlan", "ipvlan"]', device.kind)
                mac = device.mac if kind == "macvlan" else ""
                mode = cast('Literal["bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"]', device.mode)
                yield Child(name, device.name, device.index, mac, device.mtu, kind, mode, node, parent)


def _numbered(plan: Plan, found: Mapping[str, Found], node: str, index: int) -> str:
    """The name of a node's device with that index; empty if not found."""
    devices = (*plan.devices_of(node).values(), *found.get(node, {}).values())
    return next((device.name for device in devices if device.index == index), "")


def _link(device: DeviceState) -> Link:
    master = device.master or None
    if device.kind == "bridge" and not master:
        return Bridge(device.name, device.index, device.mac, device.mtu, device.promiscuous)
    return OtherLink(device.name, device.index, device.mac, device.mtu, device.kind, master)


def _completed(space: Space, state: State, links: tuple[Link, ...]) -> Space:
    addresses = (*space.of(DeviceAddress), *_further(space, DeviceAddress, state))
    kept = (item for item in space.objects if not isinstance(item, Ruleset))
    cut = sorted(_connected(addresses, state) - state.of(Route), key=str)
    objects = (
        *(_as_set(item, state) if isinstance(item, Sysctl) else item for item in kept),
        *links,
        *chain.from_iterable(_further(space, kind, state) for kind in KINDS if kind is not Route),
        *_routes(space, state, addresses),
        *_rulesets(space, state),
        *map(CutRoute, cut),
        *(NftTable(name) for name in sorted((state.tables - _tables(state)) | state.rules_of_tables.keys())),
        *state.others,
    )
    return replace(space, objects=objects)


def _further(space: Space, kind: type[T], state: State) -> tuple[T, ...]:
    """Existing objects that are not planned."""
    return tuple(sorted(state.of(kind) - set(space.of(kind)), key=str))


def _as_set(item: Sysctl, state: State) -> Sysctl:
    return replace(item, value=state.sysctls.get(item.key, item.value))


def _routes(space: Space, state: State, addresses: Iterable[DeviceAddress]) -> list[Route]:
    """Unplanned routes, without the kernel's prefix routes."""
    known = {*space.of(Route), *space.learned, *_connected(addresses, state)}
    known |= set(map(ordered, known))
    return sorted(state.of(Route) - known, key=str)


def _connected(addresses: Iterable[DeviceAddress], state: State) -> frozenset[Route]:
    """The kernel's prefix routes of these addresses."""
    up = {name for name, device in state.devices.items() if device.up}
    return frozenset(connected(item for item in addresses if item.dev in up))


def _rulesets(space: Space, state: State) -> Iterator[Ruleset]:
    parts = space.of(Ruleset)
    yield from (part for part in parts if part.backend not in iptables.FAMILIES)
    for backend in iptables.FAMILIES:
        yield from claimed(parts, state.rulesets.get(backend, Whole(backend)), "cni")


def _tables(state: State) -> frozenset[str]:
    """The tables of iptables as nftables lists them."""
    found = (state.rulesets.get(backend, Whole(backend)) for backend in iptables.FAMILIES)
    return frozenset().union(*map(iptables.tables, found))


def mismatches(results: Mapping[str, Result], states: Mapping[str, State]) -> Iterator[tuple[str, str]]:
    """Pods with an error for each interface or address of a plugin's result that the kernel does not have."""
    owners: dict[Address, str] = {}
    for pod, result in results.items():
        there = states[pod]
        for made in result.interfaces:
            if made.sandbox and made.name not in there.devices:
                yield pod, f"result has interface {made.name}, not found in the pod"
        for item in result.addresses:
            dev, address = _device_of(result, item), item.address.ip
            on = {have.dev for have in there.of(DeviceAddress) if have.interface.ip == address}
            # A state has no link-local addresses, as the kernel adds those itself.
            if dev is None or address.is_link_local:
                continue
            if not on or dev not in ("", *on):
                yield pod, f"result has address {address}, not found {f'on {dev}' if dev else 'in the pod'}"
            elif owners.setdefault(address, pod) != pod:
                yield pod, f"result has address {address}, already assigned to {owners[address]}"


def _device_of(result: Result, item: GivenAddress) -> str | None:
    """The pod's device with the address; empty if the result does not name one, None if it is a device of the node."""
    if item.interface is None or not result.interfaces:
        return ""
    made = result.interfaces[item.interface]
    return made.name if made.sandbox else None


def places_of(plan: Plan) -> tuple[str, ...]:
    """The places that plugins may change: nodes, and the pods that they attach."""
    nodes = {item.node for item in plan.plugged}
    pods = {item.space for item in plan.plugged}
    return tuple(space.name for space in plan.spaces if space.name in (nodes if space.kind is Kind.NODE else pods))
