"""A topology: nodes, their pods, the fabric between the nodes, and address ranges.

name: two-nodes
cluster:
  pod_cidr: 10.244.0.0/16        # or a list: one IPv4 range, one IPv6 range
  node_prefix: 24                # or a list, one for each range
  service_cidr: 10.96.0.0/12     # or a list, like pod_cidr: cluster addresses of Services
  node_ports: 30000-32767        # ports of Services of type NodePort
  node_rules: 1000               # non-matching iptables rules that forwarded packets traverse on each node
fabric:
  subnet: 192.168.56.0/24
  mtu: 1500
nodes:
  node1: {pods: [client, web-1]}
  node2: {pods: 8}               # eight pods, node2-pod-1 to node2-pod-8

`nodes: 4` is short for node1 to node4, each with `pods_per_node` pods.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_network
from itertools import combinations
from typing import Annotated, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema

from testbed.spec.fabric import Fabric
from testbed.spec.labels import Labels, TaintText
from testbed.spec.problems import Loc, Misfit, counted, each, item
from testbed.spec.qualities import MIN_MTU as MIN_MTU
from testbed.spec.shapes import ROUTER as ROUTER
from testbed.spec.shapes import SWITCH as SWITCH
from testbed.spec.shapes import Families, Members
from testbed.spec.types import NAME_LENGTH, Name, Network, NetworkRange, Spec, durations, listed, one_or_many
from testbed.spec.underlay import Underlay

DEFAULT_NODE_PREFIX = {4: 24, 6: 64}
"""Default of kube-controller-manager, by family."""

DEFAULT_SERVICE_RANGES = {
    4: tuple(map(ip_network, ("10.96.0.0/12", "172.30.0.0/16", "10.152.0.0/16"))),
    6: tuple(map(ip_network, ("fd00:10:96::/112", "fd00:172:30::/112", "fd00:10:152::/112"))),
}
"""By family; the first one that overlaps no other range is used."""
NODE_PORTS = (30000, 32767)
"""First and last, as the API server's default."""
DEFAULT_NAMESPACE = "default"
MAX_PODS = 10_000
"""Largest number of pods of a topology; each is a network namespace."""
MAX_NODES = 1000
MAX_NODE_RULES = 100_000
MAX_PORT = 65535
MAX_SERVICE_BITS = 20
"""Largest range of Services, as the API server has it."""
MIN_SERVICE_BITS = 3


def _port_range(value: object) -> object:
    """`30000-32767` as first and last port."""
    if isinstance(value, tuple):
        return value
    match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", value) if isinstance(value, str) else None
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= first <= last <= MAX_PORT:
        raise ValueError(f"must be a first and a last port from 1 to {MAX_PORT}, such as 30000-32767")
    return first, last


PortRange = Annotated[
    tuple[int, int],
    BeforeValidator(_port_range),
    PlainSerializer(lambda ports: f"{ports[0]}-{ports[1]}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,5}-\d{1,5}$", "examples": ["30000-32767"]}),
]


MIN_GRACE, MAX_GRACE = timedelta(seconds=1), timedelta(hours=1)


class Cluster(Spec):
    """Address ranges of pods, at most one per family."""

    pod_cidr: Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})] = Field(
        min_length=1, description="range of all pods' addresses, or a list with one IPv4 and one IPv6 range"
    )
    node_prefix: Annotated[tuple[int, ...], *one_or_many({"type": "integer", "minimum": 0, "maximum": 126})] = Field(
        default=(),
        description="prefix length of each node's share of pod_cidr, or a list with one per range; "
        "24 (IPv4) and 64 (IPv6) if absent",
    )
    service_cidr: Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})] = Field(
        default=(),
        description="range of the cluster addresses of Services, or a list with one per family of pod_cidr; the first "
        "of 10.96.0.0/12, 172.30.0.0/16 and 10.152.0.0/16 that overlaps no other range (IPv6: fd00:10:96::/112) if "
        "absent",
    )
    node_ports: PortRange = Field(default=NODE_PORTS, description="first and last port of Services of type NodePort")
    node_grace: Annotated[timedelta, *durations("40s", "5s", least=MIN_GRACE, most=MAX_GRACE)] = Field(
        default=timedelta(seconds=40),
        description="time without an answer to a node's heartbeats after which the node is NotReady",
        json_schema_extra={"default": "40s"},
    )
    node_rules: int = Field(
        default=0,
        ge=0,
        le=MAX_NODE_RULES,
        description="number of non-matching iptables rules that each packet forwarded by a node's stack traverses",
    )

    @property
    def ranges(self) -> tuple[tuple[Network, int], ...]:
        """Each pod range with the prefix length of a node's share of it."""
        prefixes = self.node_prefix or tuple(DEFAULT_NODE_PREFIX[cidr.version] for cidr in self.pod_cidr)
        return tuple(zip(self.pod_cidr, prefixes, strict=True))


class Pod(Spec):
    """A pod: a name in a Kubernetes namespace, with labels."""

    name: Name
    namespace: Name = DEFAULT_NAMESPACE
    labels: Labels = Field(default_factory=dict)
    uid: str = Field(
        default="",
        pattern="^[0-9a-zA-Z]([-0-9a-zA-Z]{0,62}[0-9a-zA-Z])?$",
        description="the Kubernetes UID, which CNI plugins get; derived from namespace and name if absent",
    )

    @property
    def id(self) -> str:
        """Unique name of the pod: `web-1`, or `web-1.shop` outside the namespace `default`."""
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.name}.{self.namespace}"


def _pod(value: object) -> object:
    """`web-1` is short for `{name: web-1}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict | Pod):
        return value
    raise ValueError("must be a name, such as web-1, or a mapping with keys name, namespace, labels, uid")


def _pods(value: object) -> object:
    """A count stays a number, as the node's name is not known here."""
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    remedy = ""
    if isinstance(value, str) and re.fullmatch(r"[-a-z0-9]{1,63}", value):
        remedy = f"; write {value} without quotes" if value.isdigit() else f"; write [{value}]"
    raise ValueError(f"must be a list of names, such as [client, web-1], or a count, such as 8{remedy}")


def _count_or_names(value: object) -> str:
    return "count" if isinstance(value, int) else "names"


class Node(Spec):
    """A Kubernetes node."""

    pods: Annotated[
        Annotated[int, Field(ge=0, le=MAX_PODS), Tag("count")]
        | Annotated[tuple[Annotated[Pod, BeforeValidator(_pod)], ...], Tag("names")],
        Discriminator(_count_or_names),
        BeforeValidator(_pods, json_schema_input_type=Annotated[int, Field(ge=0, le=MAX_PODS)] | list[Name | Pod]),
    ] = Field(default=(), description="names of the node's pods, or their number; pods_per_node if absent")
    at: Name | None = Field(
        default=None,
        description="the node's rack, leaf or site, in a fabric with these; assigned round-robin if absent",
    )
    labels: Labels = Field(default_factory=dict, description="labels of the Kubernetes node, such as {disk: ssd}")
    taints: Annotated[tuple[TaintText, ...], BeforeValidator(listed)] = Field(
        default=(), description="taints of the Kubernetes node, such as [dedicated=db:NoSchedule]"
    )

    @property
    def without_pods(self) -> tuple[str | None, Labels, tuple[str, ...]]:
        """All of the node but its pods."""
        return self.at, self.labels, self.taints


def _nodes(value: object) -> object:
    """`4` is short for node1 to node4."""
    if type(value) is not int:
        return value
    if not 1 <= value <= MAX_NODES:
        raise ValueError(f"must be a mapping of names, or a number from 1 to {MAX_NODES}")
    return {f"node{number}": {} for number in range(1, value + 1)}


class Topology(Spec):
    """A topology file."""

    name: Name = Field(description="name of this topology in results and reports")
    cluster: Cluster = Field(description="address ranges of the pods")
    fabric: Fabric = Field(description="the network between the nodes")
    nodes: Annotated[
        dict[Name, Node],
        BeforeValidator(
            _nodes,
            json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_NODES)]
            | Annotated[dict[Name, Node], Field(min_length=1)],
        ),
    ] = Field(
        min_length=1, description="nodes by name, each with its pods; or the number of nodes, named node1, node2, ..."
    )
    pods_per_node: int = Field(default=0, ge=0, le=MAX_PODS, description="number of pods of each node without `pods`")
    manifests: Annotated[tuple[str, ...], *one_or_many({"type": "string"})] = Field(
        default=(), description="Kubernetes manifests to apply: a file or folder, relative to this file, or a list"
    )
    host_images: bool = Field(
        default=False,
        description="whether containers of the image `host` and of well-known tool images run their command from the "
        "machine's own files",
    )

    def pods_of(self, node: str) -> tuple[Pod, ...]:
        """The node's pods; a number N is short for NODE-pod-1 to NODE-pod-N."""
        pods = self.written_pods(node)
        if isinstance(pods, int):
            # Not validated: an invalid name of the node, or one too long, is reported there.
            return tuple(Pod.model_construct(name=f"{node}-pod-{index}") for index in range(1, pods + 1))
        return pods

    def written_pods(self, node: str) -> int | tuple[Pod, ...]:
        """The node's pods as written, or `pods_per_node`: a list of pods or a count."""
        spec = self.nodes[node]
        return spec.pods if "pods" in spec.model_fields_set else self.pods_per_node

    @property
    def pod_ids(self) -> tuple[str, ...]:
        return tuple(pod.id for node in self.nodes for pod in self.pods_of(node))

    @property
    def members(self) -> Members:
        """Nodes by name, each with its `at`."""
        return {name: node.at for name, node in self.nodes.items()}

    @property
    def underlay(self) -> Underlay:
        """The fabric's switches, routers and links, with all defaults filled in."""
        return self.fabric.underlay(self.members, self.pod_families)

    @property
    def families(self) -> frozenset[int]:
        """Address families of pods and fabric, as far as ranges are in the file."""
        return frozenset(cidr.version for _, cidr in self._written_ranges())

    @property
    def pod_families(self) -> Families:
        """Address families of pods, in the order of the file."""
        return tuple(dict.fromkeys(cidr.version for cidr in self.cluster.pod_cidr))

    @property
    def service_ranges(self) -> tuple[Network, ...]:
        """Ranges of the cluster addresses of Services, one per family of pods, in the order of pod_cidr."""
        written = {cidr.version: cidr for cidr in self.cluster.service_cidr}
        others = [*self.cluster.pod_cidr, *(cidr for _, cidr in self.fabric.ranges())]
        others += (*self.underlay.transit, *self.underlay.loopbacks)
        found = []
        for family in self.pod_families:
            defaults = DEFAULT_SERVICE_RANGES[family]
            free = (one for one in defaults if not any(_overlap(one, other) for other in others))
            found.append(written[family] if family in written else next(free, defaults[-1]))
        return tuple(found)

    def misfits(self) -> Iterator[Misfit]:
        """Values that do not fit together. A check is skipped if one that it relies on has failed."""
        families = [*each(self._cidr_misfits(), self._fabric_families())]
        yield from each(
            families,
            self._overlaps() if not families else (),  # Otherwise there may be very many ranges.
            self._prefix_misfits(),
            self._at_fabric(),
            self._mtu_misfits(),
            self._count_misfits(),
        )
        if not list(each(self._total_misfits())):  # Otherwise too many pods would be created.
            yield from each(self._name_misfits())

    def _at_fabric(self) -> Iterator[Misfit]:
        fabric = list(each(self.fabric.misfits(self.members, self.pod_families)))
        yield from fabric
        if not fabric:
            yield from self._default_overlaps()

    def _cidr_misfits(self) -> Iterator[Misfit]:
        cluster = self.cluster
        yield from _one_of_each_family(cluster.pod_cidr, ("cluster", "pod_cidr"))
        yield from _one_of_each_family(cluster.service_cidr, ("cluster", "service_cidr"))
        families = self.pod_families
        for index, cidr in enumerate(cluster.service_cidr):
            at = item(("cluster", "service_cidr"), index, cluster.service_cidr)
            if cidr.version not in families:
                yield Misfit(at, f"{cidr} is IPv{cidr.version}, but pod_cidr has no IPv{cidr.version} range")
            elif cidr.max_prefixlen - cidr.prefixlen > MAX_SERVICE_BITS:
                shortest = cidr.max_prefixlen - MAX_SERVICE_BITS
                yield Misfit(at, f"{cidr} is too large; the API server takes prefixes of at least /{shortest}")
            elif cidr.max_prefixlen - cidr.prefixlen < MIN_SERVICE_BITS:
                longest = cidr.max_prefixlen - MIN_SERVICE_BITS
                yield Misfit(at, f"{cidr} has too few addresses; write a prefix of at most /{longest}")

    def pod_misfits(self) -> Iterator[Misfit]:
        """Problems with the number of pods."""
        yield from self._count_misfits()
        yield from self._prefix_misfits()

    def taken_by(self, name: str) -> str:
        """What uses that name, such as `a node`; empty if the name is free."""
        return self.taken_by_member(name) or self.fabric.places().get(name, "")

    def taken_by_member(self, name: str) -> str:
        """The same, for names of nodes and pods only."""
        if name in self.nodes:
            return "a node"
        home = self.home_of(name)
        return f"a pod of {home}" if home else ""

    def home_of(self, pod_id: str) -> str:
        """The node of that pod; empty for an unknown pod."""
        return self._homes.get(pod_id) or self._home_of_counted(pod_id)

    @cached_property
    def _homes(self) -> dict[str, str]:
        """The node of each listed pod, by the pod's id."""
        listed = ((node, self.written_pods(node)) for node in self.nodes)
        return {pod.id: node for node, pods in listed if not isinstance(pods, int) for pod in pods}

    def _home_of_counted(self, pod_id: str) -> str:
        node, _, index = pod_id.rpartition("-pod-")
        pods = self.written_pods(node) if node in self.nodes else ()
        is_number = index.isdecimal() and index == str(int(index))
        return node if isinstance(pods, int) and is_number and 1 <= int(index) <= pods else ""

    def with_pods_of(self, changed: Mapping[str, tuple[Pod, ...]], gone: Collection[str]) -> "Topology":
        """The topology with other pods on some nodes; `gone` are the ids of the removed ones."""
        nodes = {node: self.nodes[node].model_copy(update={"pods": pods}) for node, pods in changed.items()}
        made = self.model_copy(update={"nodes": self.nodes | nodes})
        homes = self._homes.copy()
        for pod_id in gone:
            homes.pop(pod_id, None)
        homes.update((pod.id, node) for node, pods in changed.items() for pod in pods)
        vars(made)["_homes"] = homes
        return made

    def __copy__(self) -> Self:
        made = super().__copy__()
        vars(made).pop("_homes", None)  # Copies are made to be changed.
        return made

    def _count_misfits(self) -> Iterator[Misfit]:
        """Problems of pod counts, found before the pods are created."""
        yield from each(self._total_misfits(), *map(self._length_misfits, self.nodes))

    def _total_misfits(self) -> Iterator[Misfit]:
        total = sum(map(self._pod_count, self.nodes))
        if total > MAX_PODS:
            yield Misfit(
                ("nodes",),
                f"the nodes have {total} pods in total, but at most {MAX_PODS} are supported",
                at_key=True,
            )

    def _length_misfits(self, node: str) -> Iterator[Misfit]:
        """Names of counted pods that are too long."""
        pods = self.written_pods(node)
        if isinstance(pods, int) and pods and len(last := f"{node}-pod-{pods}") > NAME_LENGTH:
            yield Misfit(
                ("nodes", node),
                f"pod names such as '{last}' would have {len(last)} characters, but a name can have at most "
                f"{NAME_LENGTH}; shorten the node's name or list its pods by name",
                at_key=True,
            )

    def _pod_count(self, node: str) -> int:
        pods = self.written_pods(node)
        return pods if isinstance(pods, int) else len(pods)

    def _prefix_misfits(self) -> Iterator[Misfit]:
        cluster = self.cluster
        if cluster.node_prefix and len(cluster.node_prefix) != len(cluster.pod_cidr):
            yield Misfit(
                ("cluster", "node_prefix"),
                f"expected {counted(len(cluster.pod_cidr), 'length')}, one for each range of pod_cidr, found "
                f"{len(cluster.node_prefix)}",
            )
            return
        for index, (cidr, prefix) in enumerate(cluster.ranges):
            written = item(("cluster", "pod_cidr"), index, cluster.pod_cidr)
            at_prefix = item(("cluster", "node_prefix"), index, cluster.node_prefix)
            yield from self._share_misfits(cidr, prefix, written, at_prefix if cluster.node_prefix else written)

    def _share_misfits(self, cidr: Network, prefix: int, at_cidr: Loc, at_prefix: Loc) -> Iterator[Misfit]:
        """Check that `cidr` has a share of length `prefix` for each node, with addresses for its pods."""
        longest = cidr.max_prefixlen - 2
        share = f"/{prefix}" if self.cluster.node_prefix else f"/{prefix} (the default of node_prefix)"
        if not cidr.prefixlen <= prefix <= longest:
            remedy = (
                f"write a node_prefix from {cidr.prefixlen} to {longest}"
                if cidr.prefixlen <= longest
                else "write a larger range"
            )
            yield Misfit(at_prefix, f"{cidr} cannot be split into node ranges of {share}; {remedy}")
            return
        shares = 1 << (prefix - cidr.prefixlen)
        if shares < len(self.nodes):
            yield Misfit(
                at_cidr,
                f"{cidr} has {counted(shares, 'range')} of {share}, but there are {len(self.nodes)} nodes; "
                "write a larger range or a longer node_prefix",
            )
        node = max(self.nodes, key=self._pod_count)
        # Pods cannot have the network address, the bridge's address and (IPv4) the broadcast address.
        room = (1 << (cidr.max_prefixlen - prefix)) - (3 if cidr.version == 4 else 2)
        if room < self._pod_count(node):
            yield Misfit(
                at_prefix,
                f"a node's {share} has addresses for {counted(room, 'pod')}, but {node} has "
                f"{self._pod_count(node)}; write a shorter node_prefix",
            )

    def _fabric_families(self) -> Iterator[Misfit]:
        """Second ranges of a family in a field."""
        seen: dict[tuple[Loc, int], int] = {}
        for loc, cidr in self.fabric.ranges():
            field = tuple(step for step in loc if not isinstance(step, int))
            if seen.setdefault((field, cidr.version), id(loc)) != id(loc):
                yield _second(loc, cidr)

    def _written_ranges(self) -> Iterator[tuple[Loc, Network]]:
        for index, cidr in enumerate(self.cluster.pod_cidr):
            yield item(("cluster", "pod_cidr"), index, self.cluster.pod_cidr), cidr
        for index, cidr in enumerate(self.cluster.service_cidr):
            yield item(("cluster", "service_cidr"), index, self.cluster.service_cidr), cidr
        yield from self.fabric.ranges()

    def _mtu_misfits(self) -> Iterator[Misfit]:
        six = [cidr for _, cidr in self._written_ranges() if cidr.version == 6]
        for loc, mtu in self.fabric.mtus() if six else ():
            if mtu < MIN_MTU[6]:
                yield Misfit(loc, f"IPv6 ({six[0]}) requires an MTU of at least {MIN_MTU[6]}, not {mtu}")

    def _overlaps(self) -> Iterator[Misfit]:
        for (first_loc, first), (loc, net) in combinations(self._written_ranges(), 2):
            if _overlap(first, net):
                name = ".".join(step for step in first_loc if isinstance(step, str))
                yield Misfit(loc, f"{net} overlaps {name} {first}; write ranges that do not overlap")

    def _default_overlaps(self) -> Iterator[Misfit]:
        """Ranges in the file that overlap a default range of the fabric."""
        written = [*self._written_ranges()]
        own = {cidr for _, cidr in self.fabric.ranges()}
        underlay = self.underlay
        for key, ranges in (("transit", underlay.transit), ("loopbacks", underlay.loopbacks)):
            for default in ranges:
                for loc, cidr in written:
                    if default not in own and default.version == cidr.version and default.overlaps(cidr):
                        yield Misfit(
                            loc,
                            f"{cidr} overlaps {default}, the default of fabric.{key}; change this range, or write "
                            f"fabric.{key}",
                        )

    def _name_misfits(self) -> Iterator[Misfit]:
        taken = self.fabric.places()
        for node in self.nodes:
            if node in taken:
                yield Misfit(("nodes", node), _taken(node, taken), at_key=True)
            taken[node] = "a node"
        yield from each(*(self._pod_name_misfits(node, taken) for node in self.nodes))

    def _pod_name_misfits(self, node: str, taken: dict[str, str]) -> Iterator[Misfit]:
        """Names of a node's pods that are in use; the others are added to `taken`."""
        at: Loc = ("nodes", node, "pods")
        for index, pod in enumerate(self.pods_of(node)):
            if pod.id in taken:
                yield Misfit(at if isinstance(self.written_pods(node), int) else (*at, index), _taken(pod.id, taken))
            taken.setdefault(pod.id, f"a pod of {node}")


def with_other_pods(one: Topology, other: Topology) -> frozenset[str] | None:
    """The nodes whose pods differ between two topologies; None if anything else differs."""
    if list(one.nodes) != list(other.nodes) or any(getattr(one, key) != getattr(other, key) for key in _OTHER_KEYS):
        return None
    edited = [name for name, node in one.nodes.items() if node is not other.nodes[name]]
    if any(one.nodes[name].without_pods != other.nodes[name].without_pods for name in edited):
        return None
    return frozenset(name for name in edited if one.written_pods(name) != other.written_pods(name))


_OTHER_KEYS = tuple(key for key in Topology.model_fields if key != "nodes")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _taken(name: str, taken: dict[str, str]) -> str:
    return f"the name '{name}' is already used by {taken[name]}; choose another"


def _one_of_each_family(nets: tuple[Network, ...], path: tuple[str, ...]) -> Iterator[Misfit]:
    seen: set[int] = set()
    for index, net in enumerate(nets):
        if net.version in seen:
            yield _second((*path, index), net)
        seen.add(net.version)


def _second(loc: Loc, net: Network) -> Misfit:
    return Misfit(loc, f"second IPv{net.version} range; write at most one per family")
