"""Cases of policies: a cluster, manifests, and who may reach whom.

A case is a folder with `policy.yaml` and `case.json`, or a file of `cases/`, where a row of `expect` is written as
`x/a -> y/b TCP 80: yes`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import Machine, fixed_pod, namespace, new_cluster
from testbed.kubernetes.models.pods import Container, ContainerPort
from testbed.kubernetes.policies.resolving import KINDS
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.state import ClusterState, Pod

NODES = ("node1", "node2")
OWN = Path(__file__).parent / "cases"
_ROW = re.compile(r"(\S+) -> (\S+) (\w+) (\d+)")


@dataclass(frozen=True)
class Row:
    """One connection, and whether it is allowed."""

    source: str
    target: str
    protocol: str
    port: int
    is_allowed: bool


@dataclass(frozen=True)
class Step:
    """A state of the cluster, and the rows that it expects."""

    state: ClusterState
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Case:
    """A case in steps."""

    name: str
    steps: tuple[Step, ...]
    dispute: str = ""
    """Why others may expect something else."""


def of_folder(folder: Path) -> Case:
    """A case of others: `policy.yaml` and `case.json`."""
    data = json.loads((folder / "case.json").read_text())
    pods = {f"{one['namespace']}/{one['name']}": one for one in data["pods"]}
    externals = {one["name"]: one["ip"] for one in data.get("externals", ())}
    labels = {one["name"]: one.get("labels", {}) for one in data["namespaces"]}

    def place(text: str) -> str:
        inner = re.fullmatch(r"node-of\((.*)\)", text)
        return _node_of(list(pods), inner[1]) if inner else externals.get(text, text)

    def rows(written: list[dict[str, Any]]) -> tuple[Row, ...]:
        return tuple(
            Row(place(one["from"]), place(one["to"]), one["protocol"], one["port"], one["allowed"]) for one in written
        )

    def text(file: str) -> str:
        known = re.sub(r"\$\{POD_IP:(.*?)\}", lambda match: pods[match[1]]["ip"], (folder / file).read_text())
        # An API server refuses names with '_', which tools that only read manifests accept.
        return re.sub(r"^  name: (\w+)$", lambda match: match[0].replace("_", "-"), known, flags=re.MULTILINE)

    steps = data.get("steps") or [{"policies": ["policy.yaml"], "state": [], "expect": data["expect"]}]
    made = []
    for step in steps:
        for change in step["state"]:
            labels = labels | {change["namespace"]: change["namespace_labels"]}
        state = cluster(labels, pods, "---\n".join(text(file) for file in step["policies"]))
        made.append(Step(state, rows(step["expect"])))
    return Case(data["id"], tuple(made), data.get("disputed", ""))


def own_cases() -> Iterator[Case]:
    """The cases of `cases/`."""
    for file in sorted(OWN.glob("*.yaml")):
        first, _, manifests = file.read_text().partition("\n---\n")
        data = yaml.safe_load(first)
        rows = []
        for one in data["expect"]:
            ((written, answer),) = one.items()
            match = _ROW.fullmatch(written)
            assert match, written
            rows.append(Row(match[1], match[2], match[3], int(match[4]), answer))
        state = cluster(data["namespaces"], data["pods"], manifests)
        yield Case(file.stem, (Step(state, tuple(rows)),), data.get("dispute", ""))


def _node_of(pods: list[str], name: str, nodes: tuple[str, ...] = NODES) -> str:
    return nodes[pods.index(name) % len(nodes)]


def cluster(
    namespaces: Mapping[str, Mapping[str, str]],
    pods: Mapping[str, Mapping[str, Any]],
    manifests: str,
    nodes: tuple[str, ...] = NODES,
) -> ClusterState:
    """A cluster with pods on its nodes in turn, and the policies of manifests."""
    machines = (
        Machine(name=name, addresses=(f"192.168.56.{number}", f"fd00:56::{number}"), labels={"kind": name})
        for number, name in enumerate(nodes, 1)
    )
    state = new_cluster(machines)
    state = state.changed(
        replace(made, metadata=replace(made.metadata, labels=made.labels | dict(labels or {})))
        for name, labels in namespaces.items()
        for made in (namespace(name),)
    )
    keys = list(pods)
    state = state.changed(
        _pod(key, _node_of(keys, key, nodes), {"ip": f"10.244.{number >> 8}.{number & 255}"} | (pods[key] or {}))
        for number, key in enumerate(keys, 2)
    )
    if not any(yaml.safe_load_all(manifests)):
        return state
    found = read_manifests([("policy.yaml", manifests)])
    return apply(state, replace(found, objects=tuple(one for one in found.objects if one.kind.name in KINDS))).state


def _pod(key: str, node: str, written: Mapping[str, Any]) -> Pod:
    name_space, _, name = key.rpartition("/")
    made = fixed_pod(name, name_space, node, written.get("labels", {}))
    ports = tuple(
        ContainerPort.model_construct(
            container_port=one["port"], name=one.get("name"), protocol=one.get("protocol", "TCP")
        )
        for one in written.get("ports", ())
    )
    container = Container.model_construct(name="pod", image="host", ports=ports)
    changes = {"containers": (container,), "host_network": written.get("hostNetwork", False)}
    typed = made.typed.model_copy(update={"spec": made.typed.spec.model_copy(update=changes)})
    ips = written.get("ips") or [written["ip"]]
    return replace(made, typed=typed, status={"podIPs": [{"ip": ip} for ip in ips]})
