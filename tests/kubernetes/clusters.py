"""Small clusters and manifests for tests."""

from typing import Any

import yaml

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import Machine, new_cluster
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.reading import Manifests, read_manifests
from testbed.kubernetes.state import ClusterState, Pod, Resource

Object = dict[str, Any]


def nodes(count: int, zones: int = 0, **fields: Any) -> tuple[Machine, ...]:
    """node1, node2, ...; in zones a, b, ... in turn."""
    zone = [chr(ord("a") + number % zones) if zones else "" for number in range(count)]
    return tuple(Machine(name=f"node{number + 1}", zone=zone[number], **fields) for number in range(count))


def read(*objects: Object) -> Manifests:
    return read_manifests([("shop.yaml", yaml.safe_dump_all(objects))])


def cluster(*objects: Object, machines: tuple[Machine, ...] | None = None) -> ClusterState:
    """A cluster with objects applied, before any controller ran."""
    return applied(new_cluster(nodes(3) if machines is None else machines), *objects)


def applied(state: ClusterState, *objects: Object) -> ClusterState:
    return apply(state, read(*objects)).state if objects else state


def workload(kind: str = "Deployment", name: str = "web", pod: Object | None = None, **spec: Any) -> Object:
    """A workload with one container; `pod` are more fields of its pods' spec."""
    return {
        "apiVersion": BY_NAME[kind].api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(**(pod or {}))},
            **spec,
        },
    }


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": pod_spec(**spec),
    }


def pod_spec(**spec: Any) -> Object:
    return {"containers": [{"name": "web", "image": "nginx"}], **spec}


def node(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def places(state: ClusterState) -> dict[str, str]:
    """Node of each pod, by its name."""
    return {one.name: one.node for one in state.pods}


def count_by_node(state: ClusterState) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in state.pods:
        found[one.node] = found.get(one.node, 0) + 1
    return dict(sorted(found.items()))


def reasons(state: ClusterState) -> set[str]:
    return {one.reason for one in state.pods if not one.node}


def the(state: ClusterState, kind: str, name: str = "web") -> Resource:
    return state.of(kind)["default", name]


def only_pod(state: ClusterState) -> Pod:
    (found,) = state.pods
    return found
