"""Import of kind cluster configurations (https://kind.sigs.k8s.io/docs/user/configuration/)."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from testbed.spec.foreign.imported import Imported, Origin, in_order, name_for, names_for
from testbed.spec.foreign.ranges import first_free, one_or_list
from testbed.spec.foreign.reading import Foreign, plain
from testbed.spec.problems import Loc, Misfit, Problem, SpecError, counted
from testbed.spec.topology import DEFAULT_NODE_PREFIX
from testbed.spec.types import UNUSABLE_RANGES, Network

POD_SUBNETS = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}
NODE_SUBNETS = {4: ("172.18.0.0/16", "172.19.0.0/16"), 6: ("fc00:f853:ccd:e793::/64", "fc00:f853:ccd:e794::/64")}
"""Usual subnets of kind's container network."""
FAMILIES = {"ipv4": (4,), "ipv6": (6,), "dual": (4, 6)}
ROLES = ("control-plane", "worker")
_USED = {"ipFamily", "podSubnet"}
_FIRST_PODS = 3
"""Shortest suffix of a node's range with room for its pods, in bits."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of kind: its nodes and its ranges."""

    name: str
    nodes: tuple[str, ...]
    """As kind names them, without the cluster's name: control-plane, worker, worker2, ..."""
    families: tuple[int, ...]
    pod_cidrs: tuple[Network, ...]
    prefixes: tuple[int, ...]
    """Prefix lengths of the nodes' shares of these ranges."""
    left_out: tuple[Problem, ...]
    at_pods: Problem
    """The location of its pod ranges, without a file if it has no configuration."""

    def with_room(self, nodes: int) -> "Cluster":
        """The cluster with a share of the ranges for each of `nodes` nodes. Raises SpecError if these are too small."""
        found, notes = [], []
        for cidr, usual in zip(self.pod_cidrs, self.prefixes, strict=True):
            prefix = _fitting(cidr, usual, nodes)
            if prefix > cidr.max_prefixlen - _FIRST_PODS:
                message = f"{cidr} has too few addresses for {counted(nodes, 'node')} with two pods each"
                raise SpecError((replace(self.at_pods, message=message),))
            if prefix != usual and self.at_pods.file:
                message = f"node ranges of /{usual}: {cidr} has too few of them for {counted(nodes, 'node')}"
                notes.append(replace(self.at_pods, message=f"{message}; imported with node ranges of /{prefix}"))
            found.append(prefix)
        return replace(self, prefixes=tuple(found), left_out=(*self.left_out, *notes))

    def as_data(self) -> dict[str, Any]:
        """The `cluster` of a topology."""
        usual = tuple(DEFAULT_NODE_PREFIX[cidr.version] for cidr in self.pod_cidrs)
        found: dict[str, Any] = {"pod_cidr": one_or_list(self.pod_cidrs)}
        if self.prefixes != usual:
            found["node_prefix"] = self.prefixes[0] if len(self.prefixes) == 1 else list(self.prefixes)
        return found


_NOWHERE = Problem("", 0, 0, "")
USUAL = Cluster("kind", ("control-plane",), (4,), (ipaddress.ip_network(POD_SUBNETS[4]),), (24,), (), _NOWHERE)
"""The cluster that kind makes without a configuration."""


def is_one(data: dict[str, Any]) -> bool:
    """Whether data is a kind cluster configuration."""
    return data.get("kind") == "Cluster" and plain(data.get("apiVersion")).startswith("kind.")


def read(file: Foreign) -> Imported:
    """The topology with the file's nodes and ranges. Raises SpecError."""
    source = file.source
    cluster = read_cluster(file)
    names = names_for(cluster.nodes)
    subnets = [first_free(NODE_SUBNETS[family], cluster.pod_cidrs) for family in cluster.families]
    topology = {
        "name": name_for(cluster.name, "kind"),
        "cluster": cluster.as_data(),
        "fabric": {"subnet": one_or_list(subnets), "mtu": 1500},
        "nodes": {name: {} for name in names.values()},
        "pods_per_node": 2,
    }
    remarks = (
        "kind does not define pods: each node has two. Its network plugin, kindnet, corresponds to the design "
        "ptp+host-routes.",
        "The nodes' range is the usual one of kind's container network.",
        "Kubernetes itself (control plane, Services, DNS) is not imported.",
    )
    at_pods: Loc = ("networking", "podSubnet")
    origins: dict[Loc, Origin] = {("cluster",): (source, at_pods), (): (source, ())}
    origins |= {("nodes", name): (source, ("nodes", number)) for number, name in enumerate(names.values())}
    return Imported(topology, remarks, tuple(in_order((*file.notes, *cluster.left_out), source)), (), origins)


def read_cluster(file: Foreign) -> Cluster:
    """The cluster of a configuration. Raises SpecError."""
    source = file.source
    data: Any = source.data
    if not isinstance(data, dict) or not is_one(data):
        raise SpecError((source.problem(Misfit((), "expected a kind cluster configuration (kind: Cluster)")),))
    networking = data.get("networking") or {}
    patches = _patches(data)
    if misfits := list(_misfits(data, networking)):
        raise SpecError(tuple(map(source.problem, misfits)))
    families = FAMILIES[_family(networking)]
    nodes = _names([node.get("role") or "control-plane" for node in _nodes(data)])
    given, loc = plain(networking.get("podSubnet")) or patches.get("podSubnet", ""), ("networking", "podSubnet")
    cidrs, misfits = _pod_cidrs(given, families, loc)
    if misfits:
        raise SpecError(tuple(map(source.problem, misfits)))
    wanted = _wanted(patches, families)
    prefixes = tuple(wanted[cidr.version] for cidr in cidrs)
    left_out = [*map(source.problem, _left_out(data, networking, nodes))]
    at_pods = source.problem(Misfit(loc, ""))
    cluster = Cluster(plain(data.get("name")), tuple(nodes), families, cidrs, prefixes, tuple(left_out), at_pods)
    return cluster.with_room(len(nodes))


def _nodes(data: dict[str, Any]) -> list[dict[str, Any]]:
    return data.get("nodes") or [{"role": "control-plane"}]


def _family(networking: dict[str, Any]) -> str:
    return plain(networking.get("ipFamily")) or "ipv4"


def _misfits(data: dict[str, Any], networking: object) -> Iterator[Misfit]:
    if not isinstance(networking, dict):
        yield Misfit(("networking",), "must be a mapping")
    elif _family(networking) not in FAMILIES:
        yield Misfit(("networking", "ipFamily"), f"must be {' or '.join(FAMILIES)}", valid=tuple(FAMILIES))
    nodes = data.get("nodes") or []
    if not isinstance(nodes, list):
        yield Misfit(("nodes",), "must be a list of nodes")
        return
    for number, node in enumerate(nodes):
        if not isinstance(node, dict):
            yield Misfit(("nodes", number), "must be a mapping with the key role")
        elif (node.get("role") or "control-plane") not in ROLES:
            yield Misfit(("nodes", number, "role"), f"must be {' or '.join(ROLES)}", valid=ROLES)


def _pod_cidrs(text: str, families: tuple[int, ...], loc: Loc) -> tuple[tuple[Network, ...], list[Misfit]]:
    """The ranges of pods, in the order of the file, and what is wrong with them."""
    written = [part.strip() for part in text.split(",") if part.strip()]
    found: list[Network] = []
    for part in written or [POD_SUBNETS[family] for family in families]:
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            return (), [Misfit(loc, f"'{part}' is not an address range, such as 10.244.0.0/16")]
    for cidr in found:
        for unusable, use in UNUSABLE_RANGES.items():
            if cidr.version == unusable.version and cidr.overlaps(unusable):
                return (), [Misfit(loc, f"{cidr} contains {use}")]
    if sorted(cidr.version for cidr in found) != sorted(families):
        names = " and ".join(f"IPv{family}" for family in families)
        return (), [Misfit(loc, f"expected one range for each family of ipFamily ({names})")]
    return tuple(found), []


def _fitting(cidr: Network, prefix: int, nodes: int) -> int:
    """The prefix length of node ranges, longer than `prefix` if the range has too few of these."""
    enough = cidr.prefixlen + (nodes - 1).bit_length()
    return min(max(prefix, enough), max(enough, cidr.max_prefixlen - _FIRST_PODS))


def _patches(data: dict[str, Any]) -> dict[str, str]:
    """Settings of pod and node ranges in kubeadm's configuration, which kind passes on."""
    found: dict[str, str] = {}
    texts = [*_listed(data.get("kubeadmConfigPatches"))]
    for node in _listed(data.get("nodes")):
        texts += _listed(node.get("kubeadmConfigPatches")) if isinstance(node, dict) else []
    for text in texts:
        try:
            patch = yaml.safe_load(text) if isinstance(text, str) else None
        except yaml.YAMLError:
            continue
        if isinstance(patch, dict) and patch.get("kind") == "ClusterConfiguration":
            arguments = _in(_in(patch, "controllerManager"), "extraArgs", list)
            found |= {plain(item.get("name")): plain(item.get("value")) for item in arguments if isinstance(item, dict)}
            found |= {key: plain(value) for key, value in _in(_in(patch, "controllerManager"), "extraArgs").items()}
            found |= {key: plain(value) for key, value in _in(patch, "networking").items() if key == "podSubnet"}
    return found


def _in(data: dict[str, Any], key: str, form: type = dict) -> Any:
    value = data.get(key)
    return value if isinstance(value, form) else form()


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _wanted(patches: dict[str, str], families: Iterable[int]) -> dict[int, int]:
    """The prefix length of node ranges by family: kubeadm's setting, or the default."""
    found = {}
    for family in families:
        given = patches.get(f"node-cidr-mask-size-ipv{family}") or patches.get("node-cidr-mask-size") or ""
        found[family] = int(given) if given.isdecimal() else DEFAULT_NODE_PREFIX[family]
    return found


def _names(roles: list[str]) -> list[str]:
    """Node names as kind creates them: control-plane, control-plane2, worker, worker2, ..."""
    seen: dict[str, int] = {}
    names = []
    for role in roles:
        seen[role] = seen.get(role, 0) + 1
        names.append(role if seen[role] == 1 else f"{role}{seen[role]}")
    return names


def _left_out(data: dict[str, Any], networking: dict[str, Any], names: list[str]) -> Iterator[Misfit]:
    for key in data:
        if key not in ("kind", "apiVersion", "name", "nodes", "networking"):
            yield Misfit((key,), key, at_key=True)
    for key, value in networking.items():
        if key not in _USED:
            shown = f": {plain(value)}" if not isinstance(value, dict | list) and plain(value) else ""
            yield Misfit(("networking", key), f"{key}{shown}", at_key=True)
    for number, (node, name) in enumerate(zip(_nodes(data), names, strict=True)):
        for key in node:
            if key != "role":
                yield Misfit(("nodes", number, key), f"{key} of {name}", at_key=True)
