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
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated

from pydantic import BeforeValidator, Field

from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import Name, Network, NetworkRange, Spec, one_or_many

DEFAULT_NODE_PREFIX = {4: 24, 6: 64}
"""What kube-controller-manager hands to a node of either family."""

SWITCH = "fabric"
ROUTER = "gateway"
RESERVED_NAMES = {SWITCH: "the fabric's switch", ROUTER: "the fabric's router"}
DEFAULT_NAMESPACE = "default"
MAX_PODS = 10_000
MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that a link may have: RFC 791 wants every host to take 576 bytes, RFC 8200 sets 1280."""


class Cluster(Spec):
    """The ranges that pods get their addresses from: at most one of each family."""

    pod_cidr: Annotated[tuple[NetworkRange, ...], *one_or_many({"type": "string"})] = Field(
        min_length=1, description="the range of all pods; or a list with one IPv4 and one IPv6 range"
    )
    node_prefix: Annotated[tuple[int, ...], *one_or_many({"type": "integer"})] = Field(
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
        min_length=1, description="the range of the nodes' own addresses; or a list with one IPv4 and one IPv6 range"
    )
    mtu: int = Field(default=1500, ge=MIN_MTU[4], le=65535, description="largest packet of the fabric, in bytes")


class Pod(Spec):
    """A pod as Kubernetes knows it: a name in a namespace, with labels."""

    name: Name
    namespace: Name = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """What the pod is called everywhere: `web-1`, or `web-1.shop` outside the namespace `default`."""
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.name}.{self.namespace}"


def _pods(value: object) -> object:
    """`[client, {name: web}]` -> list of mappings. A count stays a number until the node's name is known."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return tuple({"name": item} if isinstance(item, str) else item for item in value)
    raise ValueError("pods are a list of names, such as [client, web-1], or a number of pods")




class Node(Spec):
    """A Kubernetes node."""

    pods: Annotated[
        Annotated[int, Field(ge=0, le=MAX_PODS)] | tuple[Pod, ...],
        BeforeValidator(_pods, json_schema_input_type=int | list[str | Pod]),
    ] = Field(default=(), description="names of the node's pods, or how many it has")


class Topology(Spec):
    """What a topology file says."""

    name: Name
    cluster: Cluster
    fabric: Fabric
    nodes: dict[Name, Node] = Field(min_length=1)

    def pods_of(self, node: str) -> tuple[Pod, ...]:
        """The node's pods; a number N stands for NODE-pod-1 to NODE-pod-N."""
        pods = self.nodes[node].pods
        if isinstance(pods, int):
            return tuple(Pod(name=f"{node}-pod-{index}") for index in range(1, pods + 1))
        return pods

    @property
    def pod_ids(self) -> tuple[str, ...]:
        return tuple(pod.id for node in self.nodes for pod in self.pods_of(node))

    def misfits(self) -> Iterator[Misfit]:
        """What is wrong although each value by itself is well-formed."""
        yield from _one_of_each_family(self.cluster.pod_cidr, ("cluster", "pod_cidr"))
        yield from _one_of_each_family(self.fabric.subnet, ("fabric", "subnet"))
        yield from self._prefix_misfits()
        yield from self._overlaps()
        yield from self._name_misfits()
        yield from self._fabric_misfits()

    def _prefix_misfits(self) -> Iterator[Misfit]:
        cluster = self.cluster
        if cluster.node_prefix and len(cluster.node_prefix) != len(cluster.pod_cidr):
            yield Misfit(
                ("cluster", "node_prefix"),
                f"there are {len(cluster.pod_cidr)} ranges in pod_cidr but {len(cluster.node_prefix)} prefix lengths; "
                "write one for each range",
            )
            return
        most = max(len(self.pods_of(node)) for node in self.nodes)
        for index, (cidr, prefix) in enumerate(cluster.ranges):
            loc = _item(("cluster", "node_prefix"), index, cluster.node_prefix)
            if not cidr.prefixlen <= prefix <= cidr.max_prefixlen - 2:
                yield Misfit(
                    loc,
                    f"a node's share of {cidr} has a prefix length from {cidr.prefixlen} to {cidr.max_prefixlen - 2}, "
                    f"not {prefix}",
                )
                continue
            shares = 1 << (prefix - cidr.prefixlen)
            if shares < len(self.nodes):
                yield Misfit(
                    _item(("cluster", "pod_cidr"), index, cluster.pod_cidr),
                    f"{cidr} holds {shares} ranges of /{prefix}, but there are {len(self.nodes)} nodes",
                )
            # The network address, the bridge's address and (IPv4) the broadcast address are not for pods.
            room = (1 << (cidr.max_prefixlen - prefix)) - (3 if cidr.version == 4 else 2)
            if room < most:
                yield Misfit(
                    loc, f"a /{prefix} has addresses for {room} pods beside its bridge, but a node here has {most}"
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
        for (_, first_name, first), (loc, name, net) in combinations(ranges, 2):
            if first_name != name and first.version == net.version and first.overlaps(net):
                yield Misfit(loc, f"{net} overlaps {first_name} {first}; nodes and pods need ranges of their own")

    def _name_misfits(self) -> Iterator[Misfit]:
        taken: dict[str, str] = dict(RESERVED_NAMES)
        for node in self.nodes:
            if node in taken:
                yield Misfit(("nodes", node), f"the name '{node}' is taken by {taken[node]}", at_key=True)
            taken[node] = f"the node {node}"
        for node, spec in self.nodes.items():
            for index, pod in enumerate(self.pods_of(node)):
                if pod.id in taken:
                    loc: Loc = ("nodes", node, "pods") if isinstance(spec.pods, int) else ("nodes", node, "pods", index)
                    yield Misfit(loc, f"the name '{pod.id}' is taken by {taken[pod.id]}")
                taken.setdefault(pod.id, f"a pod of {node}")

    def _fabric_misfits(self) -> Iterator[Misfit]:
        for index, subnet in enumerate(self.fabric.subnet):
            loc = _item(("fabric", "subnet"), index, self.fabric.subnet)
            room = subnet.num_addresses - (3 if subnet.version == 4 else 2)
            if room < len(self.nodes):
                yield Misfit(
                    loc, f"{subnet} has addresses for {max(room, 0)} nodes beside the gateway, not {len(self.nodes)}"
                )
            if self.fabric.mtu < MIN_MTU[subnet.version]:
                yield Misfit(("fabric", "mtu"), f"IPv6 needs an MTU of at least {MIN_MTU[6]}, not {self.fabric.mtu}")


def _item(path: tuple[str, ...], index: int, written: tuple[object, ...]) -> Loc:
    """Where an item of a field stands that may be written as a list or as the bare item."""
    return (*path, index) if len(written) > 1 else path


def _one_of_each_family(nets: tuple[Network, ...], path: tuple[str, ...]) -> Iterator[Misfit]:
    seen: set[int] = set()
    for index, net in enumerate(nets):
        if net.version in seen:
            yield Misfit((*path, index), f"a second IPv{net.version} range; give at most one of each family")
        seen.add(net.version)
