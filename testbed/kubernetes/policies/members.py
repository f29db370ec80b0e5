"""Pods, nodes and external addresses. A set of pods is an integer, in which bit i stands for the i-th pod."""

import ipaddress
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.state import ClusterState, Key, Pod
from testbed.spec.types import Address, Network

Bits = int
"""A set of pods."""


def bits_of(numbers: Iterable[int]) -> Bits:
    """The set of the pods with these numbers."""
    found = 0
    for number in numbers:
        found |= 1 << number
    return found


def numbers_in(bits: Bits) -> Iterator[int]:
    """The numbers of the pods in a set, ascending."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port of a container that has a name."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, eq=False, slots=True)
class Member:
    """A pod with a network of its own. Pods with hostNetwork are hosts: their traffic is that of their node."""

    number: int
    """Its bit in sets."""
    key: Key
    node: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    ports: frozenset[NamedPort]

    @property
    def name(self) -> str:
        """NAMESPACE/NAME."""
        return "/".join(self.key)

    def address(self, family: int) -> Address | None:
        """Its address in a family, 4 or 6; None if it has none."""
        return next((one for one in self.addresses if one.version == family), None)

    def has_port(self, name: str, protocol: str, number: int) -> bool:
        """Whether a container's port has this name and number; an empty protocol stands for any."""
        return any(
            one.name == name and one.number == number and one.protocol in (protocol, protocol or one.protocol)
            for one in self.ports
        )


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a connection: a pod, a node or an address outside the cluster."""

    name: str
    """NAMESPACE/NAME of a pod, name of a node, or an address."""
    pod: Member | None = None
    node: str = ""
    """The node, also of a pod; empty outside the cluster."""
    address: Address | None = None
    """None if it is unknown; then no address range matches."""


class LabelIndex:
    """Which of some labelled things a selector selects, as bits."""

    def __init__(self, labelled: Iterable[Mapping[str, str]]) -> None:
        self.all = 0
        self._of: dict[str, dict[str, Bits]] = {}
        for number, labels in enumerate(labelled):
            self.all |= 1 << number
            for key, value in labels.items():
                values = self._of.setdefault(key, {})
                values[value] = values.get(value, 0) | 1 << number
        self._any = {key: self._union(values.values()) for key, values in self._of.items()}

    def selected(self, selector: LabelSelector) -> Bits:
        """The things that a selector selects."""
        found = self.all
        for key, value in selector.match_labels.items():
            found &= self._of.get(key, {}).get(value, 0)
        for one in selector.match_expressions:
            values = self._of.get(one.key, {})
            match one.operator:
                case "In" | "NotIn":
                    listed = self._union(values.get(value, 0) for value in one.values)
                    found &= listed if one.operator == "In" else ~listed
                case operator:
                    there = self._any.get(one.key, 0)
                    found &= there if operator == "Exists" else ~there
        return found

    @staticmethod
    def _union(sets: Iterable[Bits]) -> Bits:
        found = 0
        for one in sets:
            found |= one
        return found


@dataclass(frozen=True, eq=False)
class Members:
    """The pods, namespaces and nodes of a cluster."""

    pods: tuple[Member, ...]
    namespaces: Mapping[str, Mapping[str, str]]
    """Labels by name."""
    nodes: Mapping[str, tuple[Address, ...]]
    """Addresses by name."""
    node_labels: Mapping[str, Mapping[str, str]]
    hosts: Mapping[Key, str]
    """Pods with hostNetwork, with their nodes."""
    _in_range: dict[Network, Bits] = field(default_factory=dict, repr=False)
    _texts: dict[tuple[Bits, int], tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def all(self) -> Bits:
        """All pods."""
        return (1 << len(self.pods)) - 1

    @cached_property
    def by_key(self) -> Mapping[Key, Member]:
        return {pod.key: pod for pod in self.pods}

    @cached_property
    def _labels(self) -> LabelIndex:
        return LabelIndex(pod.labels for pod in self.pods)

    @cached_property
    def _namespace_labels(self) -> LabelIndex:
        return LabelIndex(self.namespaces.values())

    @cached_property
    def _node_labels(self) -> LabelIndex:
        return LabelIndex(self.node_labels.values())

    @cached_property
    def _of_namespace(self) -> Mapping[str, Bits]:
        found = dict.fromkeys(self.namespaces, 0)
        for pod in self.pods:
            found[pod.key[0]] = found.get(pod.key[0], 0) | 1 << pod.number
        return found

    @cached_property
    def _by_address(self) -> Mapping[int, tuple[list[int], list[int]]]:
        """By family: the addresses of pods as sorted integers, and the number of the pod of each."""
        found = {}
        for family in (4, 6):
            pairs = sorted(
                (int(one), pod.number) for pod in self.pods for one in pod.addresses if one.version == family
            )
            found[family] = [address for address, _ in pairs], [number for _, number in pairs]
        return found

    def selected(self, selector: LabelSelector, namespaces: LabelSelector | str | None = None) -> Bits:
        """The pods that a selector selects, in the namespaces of a selector or of one name; None stands for all."""
        found = self._labels.selected(selector)
        if isinstance(namespaces, str):
            return found & self.of_namespace(namespaces)
        return found & self.of_namespaces(namespaces) if namespaces is not None else found

    def of_namespace(self, name: str) -> Bits:
        """All pods of a namespace."""
        return self._of_namespace.get(name, 0)

    def of_namespaces(self, selector: LabelSelector) -> Bits:
        """All pods of the namespaces that a selector selects."""
        if selector.is_empty:
            return self.all
        names, found = tuple(self.namespaces), 0
        for number in numbers_in(self._namespace_labels.selected(selector)):
            found |= self._of_namespace[names[number]]
        return found

    def nodes_of(self, selector: LabelSelector) -> tuple[Address, ...]:
        """The addresses of the nodes that a selector selects."""
        names = tuple(self.node_labels)
        chosen = (names[number] for number in numbers_in(self._node_labels.selected(selector)))
        return tuple(address for name in chosen for address in self.nodes[name])

    def in_range(self, network: Network) -> Bits:
        """The pods with an address in a range."""
        if network not in self._in_range:
            addresses, numbers = self._by_address[network.version]
            first = bisect_left(addresses, int(network.network_address))
            last = bisect_right(addresses, int(network.broadcast_address))
            self._in_range[network] = bits_of(numbers[first:last])
        return self._in_range[network]

    def addresses(self, pods: Bits, family: int) -> tuple[str, ...]:
        """The addresses of pods in a family, as text, in the order of the pods."""
        key = pods, family
        if key not in self._texts:
            found = (self.pods[number].address(family) for number in numbers_in(pods))
            self._texts[key] = tuple(str(one) for one in found if one is not None)
        return self._texts[key]

    def place(self, name: str, family: int = 4) -> Place:
        """A pod by NAMESPACE/NAME, a node by name, or an address. Raises KeyError."""
        namespace, _, pod = name.rpartition("/")
        member = self.by_key.get((namespace, pod)) if namespace else None
        if member:
            return Place(name, member, member.node, member.address(family))
        node = self.hosts.get((namespace, pod), name)
        if node in self.nodes:
            return Place(name, None, node, next((one for one in self.nodes[node] if one.version == family), None))
        try:
            return Place(name, address=ipaddress.ip_address(name))
        except ValueError:
            raise KeyError(name) from None


def members_of(state: ClusterState) -> Members:
    """The pods that have not finished, the namespaces and the nodes of a cluster state."""
    alive = [pod for pod in state.pods if not pod.is_finished]
    own = [pod for pod in alive if not pod.spec.host_network]
    nodes = state.of("Node")
    return Members(
        tuple(_member(number, pod) for number, pod in enumerate(own)),
        {name: one.labels for (_, name), one in state.of("Namespace").items()},
        {name: tuple(_addresses(one.status.get("addresses", ()))) for (_, name), one in nodes.items()},
        {name: one.labels for (_, name), one in nodes.items()},
        {pod.key: pod.node for pod in alive if pod.spec.host_network},
    )


def _member(number: int, pod: Pod) -> Member:
    ips = pod.ips or tuple(one["ip"] for one in pod.status.get("podIPs", ()))
    sidecars = (one for one in pod.spec.init_containers if one.restart_policy == "Always")
    ports = frozenset(
        NamedPort(port.name, port.protocol, port.container_port)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.name
    )
    return Member(number, pod.key, pod.node, pod.labels, tuple(map(ipaddress.ip_address, ips)), ports)


def _addresses(written: Iterable[Mapping[str, str]]) -> Iterator[Address]:
    for one in written:
        if one["type"] in ("InternalIP", "ExternalIP"):
            yield ipaddress.ip_address(one["address"])
