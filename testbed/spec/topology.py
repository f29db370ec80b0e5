"""A topology: the nodes, their pods, the fabric between the nodes, the address ranges.

name: two-nodes
cluster:
  pod_cidr: 10.244.0.0/16        # or a list: one IPv4 range, one IPv6 range
  node_prefix: 24                # or a list, one for each range
fabric:
  subnet: 192.168.56.0/24
  mtu: 1500
nodes:
  node1: {pods: [client, web-1]}
  node2: {pods: 8}               # eight pods, node2-pod-1 to node2-pod-8

`nodes: 4` stands for node1 to node4, each with `pods_per_node` pods.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import NAME_LENGTH, Name, Network, NetworkRange, Rate, Size, Spec, one_or_many, rate_text

DEFAULT_NODE_PREFIX = {4: 24, 6: 64}
"""What kube-controller-manager hands to a node of either family."""

SWITCH = "fabric"
ROUTER = "gateway"
RESERVED_NAMES = {SWITCH: "the fabric's switch", ROUTER: "the fabric's router"}
DEFAULT_NAMESPACE = "default"
MAX_PODS = 10_000
"""Of a topology: each is a network namespace, and a machine holds no more."""
MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that a link may have: RFC 791 wants every host to take 576 bytes, RFC 8200 sets 1280."""


MIN_RATE = 1_000_000
MAX_RATE = 30_000_000_000
MIN_QUEUE = 70_000
"""In bytes: room for one segment of the largest size, without which a link would carry none."""
MAX_NODES = 1000


def _link_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a link carries {rate_text(MIN_RATE)} to {rate_text(MAX_RATE)}, not {rate_text(rate)}")
    return rate


class Cluster(Spec):
    """The ranges that pods get their addresses from: at most one of each family."""

    pod_cidr: Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})] = Field(
        min_length=1, description="the range of all pods; or a list with one IPv4 and one IPv6 range"
    )
    node_prefix: Annotated[tuple[int, ...], *one_or_many({"type": "integer", "minimum": 0, "maximum": 126})] = Field(
        default=(),
        description="prefix length of each node's share of pod_cidr, or a list, one for each range; "
        "24 (IPv4) and 64 (IPv6) if absent",
    )

    @property
    def ranges(self) -> tuple[tuple[Network, int], ...]:
        """Each pod range with the prefix length of a node's share of it."""
        prefixes = self.node_prefix or tuple(DEFAULT_NODE_PREFIX[cidr.version] for cidr in self.pod_cidr)
        return tuple(zip(self.pod_cidr, prefixes, strict=True))


class Fabric(Spec):
    """The underlay: one subnet that all nodes and the router are on."""

    subnet: Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})] = Field(
        min_length=1,
        description="the range of the nodes' own addresses; or a list with one IPv4 and one IPv6 range",
    )
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=65535, description="largest packet of the fabric, in bytes")
    rate: Annotated[Rate, AfterValidator(_link_rate)] | None = Field(
        default=None,
        description="what each node's link carries towards it, such as 1Gbit; unlimited if absent",
    )
    queue: Annotated[Size, Field(ge=MIN_QUEUE, le=2**30)] | None = Field(
        default=None,
        description="how many bytes wait for a link that has a rate before packets are dropped; if absent what the "
        "link carries in 50 ms",
    )


class Pod(Spec):
    """A pod as Kubernetes knows it: a name in a namespace, with labels."""

    name: Name
    namespace: Name = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """What the pod is called everywhere: `web-1`, or `web-1.shop` outside the namespace `default`."""
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.name}.{self.namespace}"


def _pod(value: object) -> object:
    """`web-1` stands for `{name: web-1}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict | Pod):
        return value
    raise ValueError("a pod is a name, such as web-1, or a mapping with keys name, namespace, labels")


def _pods(value: object) -> object:
    """A count stays a number until the node's name is known."""
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    mend = ""
    if isinstance(value, str) and re.fullmatch(r"[-a-z0-9]{1,63}", value):
        mend = f"; write {value} without quotes" if value.isdigit() else f"; write [{value}]"
    raise ValueError(f"pods are a list of names, such as [client, web-1], or how many, such as 8{mend}")


def _count_or_names(value: object) -> str:
    return "count" if isinstance(value, int) else "names"


class Node(Spec):
    """A Kubernetes node."""

    pods: Annotated[
        Annotated[int, Field(ge=0, le=MAX_PODS), Tag("count")]
        | Annotated[tuple[Annotated[Pod, BeforeValidator(_pod)], ...], Tag("names")],
        Discriminator(_count_or_names),
        BeforeValidator(_pods, json_schema_input_type=Annotated[int, Field(ge=0, le=MAX_PODS)] | list[Name | Pod]),
    ] = Field(default=(), description="names of the node's pods, or how many it has; pods_per_node if absent")


def _nodes(value: object) -> object:
    """`4` stands for node1 to node4."""
    if type(value) is not int:
        return value
    if not 1 <= value <= MAX_NODES:
        raise ValueError(f"nodes are a mapping of names, or how many, 1 to {MAX_NODES}")
    return {f"node{number}": {} for number in range(1, value + 1)}


class Topology(Spec):
    """What a topology file says."""

    name: Name = Field(description="what results and reports call this topology")
    cluster: Cluster = Field(description="the address ranges of the pods")
    fabric: Fabric = Field(description="the network between the nodes")
    nodes: Annotated[
        dict[Name, Node],
        BeforeValidator(
            _nodes,
            json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_NODES)]
            | Annotated[dict[Name, Node], Field(min_length=1)],
        ),
    ] = Field(
        min_length=1, description="the nodes, by name, each with its pods; or how many there are, node1, node2, ..."
    )
    pods_per_node: int = Field(
        default=0, ge=0, le=MAX_PODS, description="how many pods each node has that says nothing of its own pods"
    )

    def pods_of(self, node: str) -> tuple[Pod, ...]:
        """The node's pods; a number N stands for NODE-pod-1 to NODE-pod-N."""
        pods = self._pods(node)
        if isinstance(pods, int):
            return tuple(Pod(name=f"{node}-pod-{index}") for index in range(1, pods + 1))
        return pods

    def _pods(self, node: str) -> int | tuple[Pod, ...]:
        spec = self.nodes[node]
        return spec.pods if "pods" in spec.model_fields_set else self.pods_per_node

    @property
    def pod_ids(self) -> tuple[str, ...]:
        return tuple(pod.id for node in self.nodes for pod in self.pods_of(node))

    def misfits(self) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed.

        Each check counts on those before it, so a check that cannot say anything sensible is left out.
        """
        families = [
            *_one_of_each_family(self.cluster.pod_cidr, ("cluster", "pod_cidr")),
            *_one_of_each_family(self.fabric.subnet, ("fabric", "subnet")),
        ]
        counts = list(self._count_misfits())
        yield from (*families, *counts)
        if not families:
            yield from self._overlaps()
            yield from self._prefix_misfits()
            yield from self._fabric_misfits()
        if not counts:
            yield from self._name_misfits()

    def _count_misfits(self) -> Iterator[Misfit]:
        """Counts of pods that are not to be written out one by one."""
        total = sum(map(self._pod_count, self.nodes))
        if total > MAX_PODS:
            yield Misfit(
                ("nodes",),
                f"the nodes have {total} pods in all, but at most {MAX_PODS} fit a machine",
                at_key=True,
            )
        for node in self.nodes:
            pods = self._pods(node)
            last = f"{node}-pod-{pods}"
            if isinstance(pods, int) and pods and len(last) > NAME_LENGTH:
                yield Misfit(
                    ("nodes", node),
                    f"its pods would have names of {len(last)} characters, like '{last}', but a name has at "
                    f"most {NAME_LENGTH}; shorten the node's name or list its pods by name",
                    at_key=True,
                )

    def _pod_count(self, node: str) -> int:
        pods = self._pods(node)
        return pods if isinstance(pods, int) else len(pods)

    def _prefix_misfits(self) -> Iterator[Misfit]:
        cluster = self.cluster
        if cluster.node_prefix and len(cluster.node_prefix) != len(cluster.pod_cidr):
            yield Misfit(
                ("cluster", "node_prefix"),
                f"there are {_count(len(cluster.pod_cidr), 'range')} in pod_cidr, but "
                f"{_count(len(cluster.node_prefix), 'length')} here; write one for each range",
            )
            return
        for index, (cidr, prefix) in enumerate(cluster.ranges):
            written = _item(("cluster", "pod_cidr"), index, cluster.pod_cidr)
            at_prefix = _item(("cluster", "node_prefix"), index, cluster.node_prefix)
            yield from self._share_misfits(cidr, prefix, written, at_prefix if cluster.node_prefix else written)

    def _share_misfits(self, cidr: Network, prefix: int, at_cidr: Loc, at_prefix: Loc) -> Iterator[Misfit]:
        """Whether `cidr` has a share of length `prefix` for each node, and a share addresses for its pods."""
        longest = cidr.max_prefixlen - 2
        share = f"/{prefix}" if self.cluster.node_prefix else f"/{prefix} (the default of node_prefix)"
        if not cidr.prefixlen <= prefix <= longest:
            mend = (
                f"write a node_prefix from {cidr.prefixlen} to {longest}"
                if cidr.prefixlen <= longest
                else "write a larger range"
            )
            yield Misfit(at_prefix, f"{cidr} cannot be shared out to nodes as ranges of {share}; {mend}")
            return
        shares = 1 << (prefix - cidr.prefixlen)
        if shares < len(self.nodes):
            yield Misfit(
                at_cidr,
                f"{cidr} holds {_count(shares, 'range')} of {share}, but there are {len(self.nodes)} nodes; "
                "write a larger range or a longer node_prefix",
            )
        node = max(self.nodes, key=self._pod_count)
        # The network address, the bridge's address and (IPv4) the broadcast address are not for pods.
        room = (1 << (cidr.max_prefixlen - prefix)) - (3 if cidr.version == 4 else 2)
        if room < self._pod_count(node):
            yield Misfit(
                at_prefix,
                f"a node's {share} has addresses for {_count(room, 'pod')}, but {node} has "
                f"{self._pod_count(node)}; write a shorter node_prefix",
            )

    def _overlaps(self) -> Iterator[Misfit]:
        ranges: list[tuple[Loc, str, Network]] = [
            (_item(path, index, nets), ".".join(path), net)
            for path, nets in (
                (("cluster", "pod_cidr"), self.cluster.pod_cidr),
                (("fabric", "subnet"), self.fabric.subnet),
            )
            for index, net in enumerate(nets)
        ]
        for (_, first_name, first), (loc, _, net) in combinations(ranges, 2):
            if first.version == net.version and first.overlaps(net):
                yield Misfit(loc, f"{net} overlaps {first_name} {first}; nodes and pods need ranges of their own")

    def _name_misfits(self) -> Iterator[Misfit]:
        taken: dict[str, str] = dict(RESERVED_NAMES)
        for node in self.nodes:
            if node in taken:
                yield Misfit(("nodes", node), _taken(node, taken), at_key=True)
            taken[node] = "a node"
        for node in self.nodes:
            for index, pod in enumerate(self.pods_of(node)):
                if pod.id in taken:
                    pods: Loc = ("nodes", node, "pods")
                    yield Misfit(pods if isinstance(self._pods(node), int) else (*pods, index), _taken(pod.id, taken))
                taken.setdefault(pod.id, f"a pod of {node}")

    def _fabric_misfits(self) -> Iterator[Misfit]:
        for index, subnet in enumerate(self.fabric.subnet):
            room = max(subnet.num_addresses - (3 if subnet.version == 4 else 2), 0)
            if room < len(self.nodes):
                yield Misfit(
                    _item(("fabric", "subnet"), index, self.fabric.subnet),
                    f"{subnet} has addresses for {_count(room, 'node')} beside the gateway, but there are "
                    f"{len(self.nodes)}; write a larger range",
                )
        six = [net for net in (*self.cluster.pod_cidr, *self.fabric.subnet) if net.version == 6]
        if six and self.fabric.mtu < MIN_MTU[6]:
            yield Misfit(
                ("fabric", "mtu"),
                f"IPv6 ({six[0]}) needs an MTU of at least {MIN_MTU[6]}, not {self.fabric.mtu}",
            )


def _item(path: tuple[str, ...], index: int, written: tuple[object, ...]) -> Loc:
    """Where an item of a field stands that may be written as a list or as the bare item."""
    return (*path, index) if len(written) > 1 else path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _taken(name: str, taken: dict[str, str]) -> str:
    return f"the name '{name}' is taken by {taken[name]}; nodes and pods need names of their own"


def _one_of_each_family(nets: tuple[Network, ...], path: tuple[str, ...]) -> Iterator[Misfit]:
    seen: set[int] = set()
    for index, net in enumerate(nets):
        if net.version in seen:
            yield Misfit((*path, index), f"a second IPv{net.version} range; give at most one of each family")
        seen.add(net.version)
