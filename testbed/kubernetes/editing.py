"""Changes of single objects, as kubectl makes them: scale, label, annotate, cordon.

Each function returns the new state, or raises Refused and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from testbed.kubernetes.kinds import BY_NAME, Kind
from testbed.kubernetes.models.values import annotation_key
from testbed.kubernetes.refused import Refused, found, resource_name
from testbed.kubernetes.state import ClusterState, Key, Resource, ResourceT
from testbed.spec.labels import label_key, label_value
from testbed.spec.topology import MAX_PODS

SCALABLE = ("Deployment", "ReplicaSet", "StatefulSet")


def with_body(one: ResourceT, body: Mapping[str, Any]) -> ResourceT:
    """The object with other data, of the next generation."""
    typed = one.kind.model.model_validate({**body, "metadata": {"name": one.name}}, by_alias=True, by_name=False)
    return replace(one, typed=typed, body=body, metadata=replace(one.metadata, generation=one.metadata.generation + 1))


def with_spec(one: ResourceT, **fields: Any) -> ResourceT:
    """The object with some fields of its spec replaced."""
    return with_body(one, {**one.body, "spec": {**one.body.get("spec", {}), **fields}})


def scaled(one: Resource, replicas: int) -> Resource:
    """A workload that asks for another number of pods."""
    spec = one.typed.spec.model_copy(update={"replicas": replicas})  # type: ignore[attr-defined]
    typed = one.typed.model_copy(update={"spec": spec})
    body = {**one.body, "spec": {**one.body["spec"], "replicas": replicas}}
    return replace(one, typed=typed, body=body, metadata=replace(one.metadata, generation=one.metadata.generation + 1))


def scale(state: ClusterState, kind: Kind, key: Key, replicas: int, current: int | None = None) -> ClusterState:
    """Ask for another number of pods; `current` is the number that must be asked for now."""
    one = found(state, kind, key)
    if kind.name not in SCALABLE:
        raise Refused("BadRequest", f"{resource_name(kind)} cannot be scaled; scale a {', '.join(SCALABLE)}")
    before: int = one.typed.spec.replicas  # type: ignore[attr-defined]
    if current is not None and current != before:
        raise Refused("Conflict", f"Expected replicas to be {current}, was {before}")
    if replicas < 0:
        raise Refused("Invalid", f"replicas: must be at least 0, not {replicas}")
    if replicas > before and _asked(state) + replicas - before > MAX_PODS:
        raise Refused("Invalid", f"replicas: the workloads would ask for more than {MAX_PODS} pods in all")
    return state if replicas == before else state.changed([scaled(one, replicas)])


def _asked(state: ClusterState) -> int:
    """Pods that all workloads ask for; those of ReplicaSets that a Deployment made are counted with it."""
    workloads = (one for kind in SCALABLE for one in state.of(kind).values() if one.metadata.owner is None)
    return sum(one.typed.spec.replicas for one in workloads)  # type: ignore[attr-defined]


def label(
    state: ClusterState, kind: Kind, key: Key, changes: Mapping[str, str | None], *, overwrite: bool = True
) -> ClusterState:
    """Set labels of an object, or remove those that are None."""
    one = found(state, kind, key)
    labels = _merged("label", one.labels, changes, overwrite)
    return _with_metadata(state, one, labels=labels) if labels != one.labels else state


def annotate(
    state: ClusterState, kind: Kind, key: Key, changes: Mapping[str, str | None], *, overwrite: bool = True
) -> ClusterState:
    """Set annotations of an object, or remove those that are None."""
    one = found(state, kind, key)
    annotations = _merged("annotation", one.metadata.annotations, changes, overwrite)
    return _with_metadata(state, one, annotations=annotations) if annotations != one.metadata.annotations else state


def annotated(one: ResourceT, annotations: Mapping[str, str]) -> ResourceT:
    """The object with more annotations."""
    return replace(one, metadata=replace(one.metadata, annotations={**one.metadata.annotations, **annotations}))


def _with_metadata(state: ClusterState, one: Resource, **fields: Any) -> ClusterState:
    return state.changed([replace(one, metadata=replace(one.metadata, **fields))])


def _merged(what: str, old: Mapping[str, str], changes: Mapping[str, str | None], overwrite: bool) -> dict[str, str]:
    for name, value in changes.items():
        try:
            if what == "annotation":
                annotation_key(name)
            else:
                label_key(name)
                label_value(value or "")
        except ValueError as error:
            raise Refused("Invalid", f"{what} '{name}': {error}") from None
        if value is not None and name in old and old[name] != value and not overwrite:
            raise Refused("Conflict", f"'{name}' already has a value ({old[name]}), and --overwrite is false")
    merged: Mapping[str, str | None] = {**old, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def cordon(state: ClusterState, node: str, *, unschedulable: bool = True) -> ClusterState:
    """Keep new pods off a node, or allow them again."""
    one = found(state, BY_NAME["Node"], ("", node))
    if bool(one.body.get("spec", {}).get("unschedulable")) == unschedulable:
        return state
    return state.changed([with_spec(one, unschedulable=unschedulable)])
