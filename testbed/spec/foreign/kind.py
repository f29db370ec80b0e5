"""Import of kind cluster configurations (https://kind.sigs.k8s.io/docs/user/configuration/)."""

from collections.abc import Iterator
from typing import Any

from testbed.spec.foreign.imported import Imported, names_for
from testbed.spec.problems import Misfit, SpecError
from testbed.spec.source import Source

POD_SUBNETS = {"ipv4": "10.244.0.0/16", "ipv6": "fd00:10:244::/56"}
NODE_SUBNETS = {"ipv4": "172.18.0.0/16", "ipv6": "fc00:f853:ccd:e793::/64"}
"""Usual subnets of kind's container network."""
FAMILIES = {"ipv4": ["ipv4"], "ipv6": ["ipv6"], "dual": ["ipv4", "ipv6"]}
ROLES = ("control-plane", "worker")
_USED = {"ipFamily", "podSubnet"}


def is_one(data: dict[str, Any]) -> bool:
    """Whether data is a kind cluster configuration."""
    return data.get("kind") == "Cluster" and str(data.get("apiVersion", "")).startswith("kind.")


def read(source: Source) -> Imported:
    """The topology with the file's nodes and ranges. Raises SpecError."""
    data: Any = source.data
    networking = data.get("networking") or {}
    family = networking.get("ipFamily", "ipv4")
    if misfits := list(_misfits(data, networking, family)):
        raise SpecError(tuple(source.problem(misfit) for misfit in misfits))
    families = FAMILIES[family]
    pods = [part.strip() for part in str(networking.get("podSubnet") or "").split(",") if part.strip()]
    cluster = {"pod_cidr": _one(pods or [POD_SUBNETS[name] for name in families])}
    fabric = {"subnet": _one([NODE_SUBNETS[name] for name in families]), "mtu": 1500}
    nodes = data.get("nodes") or [{"role": "control-plane"}]
    names = _names([node.get("role", "control-plane") for node in nodes])
    topology = {
        "name": names_for([str(data.get("name") or "kind")]).popitem()[1],
        "cluster": cluster,
        "fabric": fabric,
        "nodes": {name: {} for name in names},
        "pods_per_node": 2,
    }
    remarks = (
        "kind does not define pods: each node has two. Its network plugin, kindnet, corresponds to the design "
        "ptp+host-routes.",
        "The nodes' range is the usual one of kind's container network.",
    )
    return Imported(topology, remarks, tuple(_left_out(data, networking, nodes, names)))


def _misfits(data: dict[str, Any], networking: Any, family: object) -> Iterator[Misfit]:
    if not isinstance(networking, dict):
        yield Misfit(("networking",), "must be a mapping")
    elif family not in FAMILIES:
        yield Misfit(("networking", "ipFamily"), f"must be {' or '.join(FAMILIES)}", valid=tuple(FAMILIES))
    nodes = data.get("nodes") or []
    if not isinstance(nodes, list):
        yield Misfit(("nodes",), "must be a list of nodes")
        return
    for number, node in enumerate(nodes):
        if not isinstance(node, dict):
            yield Misfit(("nodes", number), "must be a mapping with the key role")
        elif node.get("role", "control-plane") not in ROLES:
            yield Misfit(("nodes", number, "role"), f"must be {' or '.join(ROLES)}", valid=ROLES)


def _one(items: list[str]) -> str | list[str]:
    return items[0] if len(items) == 1 else items


def _names(roles: list[str]) -> list[str]:
    """Node names as kind creates them: control-plane, control-plane2, worker, worker2, ..."""
    seen: dict[str, int] = {}
    names = []
    for role in roles:
        seen[role] = seen.get(role, 0) + 1
        names.append(role if seen[role] == 1 else f"{role}{seen[role]}")
    return names


def _left_out(data: dict[str, Any], networking: dict[str, Any], nodes: list[Any], names: list[str]) -> Iterator[str]:
    for key in data:
        if key not in ("kind", "apiVersion", "name", "nodes", "networking"):
            yield key
    for key, value in networking.items():
        if key not in _USED:
            yield f"networking.{key}: {value}"
    for node, name in zip(nodes, names, strict=True):
        if more := [key for key in node if key != "role"]:
            yield f"{', '.join(more)} of {name}"
    yield "Kubernetes itself: its control plane, Services, DNS"
