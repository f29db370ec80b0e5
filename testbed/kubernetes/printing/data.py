"""An object's whole data, as the API server shows it: what is written, with defaults, metadata and status."""

from collections.abc import Mapping
from typing import Any

from testbed.kubernetes.models.model import Model
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.kubernetes.status import status_of
from testbed.kubernetes.times import timestamp
from testbed.kubernetes.workloads.eviction import added_tolerations


def data_of(state: ClusterState, one: Resource) -> dict[str, Any]:
    """The data of an object."""
    data: dict[str, Any] = {"apiVersion": one.kind.api_version, "kind": one.kind.name, "metadata": _metadata(one)}
    data |= one.body
    if isinstance(one, Pod):
        data["spec"] = {**one.body.get("spec", {}), **({"nodeName": one.node} if one.node else {})}
        data["spec"]["tolerations"] = [*data["spec"].get("tolerations", ()), *added_tolerations(one)]
    spec = getattr(one.typed, "spec", None)
    if isinstance(spec, Model) and isinstance(data.get("spec"), dict):
        data["spec"] = _with_defaults(data["spec"], spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    status = status_of(state, one)
    return {**data, "status": status} if status else data


def _metadata(one: Resource) -> dict[str, Any]:
    meta = one.metadata
    owner = meta.owner
    found: dict[str, Any] = {
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
        "resourceVersion": str(meta.resource_version),
        "creationTimestamp": timestamp(meta.created),
        "labels": dict(meta.labels),
        "annotations": dict(meta.annotations),
    }
    if meta.deleted is not None:
        found["deletionTimestamp"] = timestamp(meta.deleted + (meta.grace or 0))
        found["deletionGracePeriodSeconds"] = meta.grace
        found["finalizers"] = list(meta.finalizers)
    if not isinstance(one, Pod) and "spec" in one.body:
        found["generation"] = meta.generation
    if owner is not None:
        reference = {"apiVersion": owner.kind.api_version, "kind": owner.kind.name, "name": owner.name}
        found["ownerReferences"] = [
            {**reference, "uid": owner.uid, "controller": True, "blockOwnerDeletion": True},
        ]
    return {key: value for key, value in found.items() if value not in ("", {}, [], None)}


def _with_defaults(written: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """What is written, with the default values of fields that are understood."""
    result = dict(written)
    for key, value in typed.items():
        own = written.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            result[key] = _with_defaults(own, value)
        elif isinstance(own, list) and isinstance(value, list) and len(own) == len(value):
            pairs = zip(own, value, strict=True)
            result[key] = [
                _with_defaults(one, other) if isinstance(one, dict) and isinstance(other, dict) else one
                for one, other in pairs
            ]
        elif key not in written and (default := _shown(value)):
            result[key] = default
    return result


def _shown(value: Any) -> Any:
    """A default without empty parts."""
    if isinstance(value, dict):
        return {key: shown for key, part in value.items() if (shown := _shown(part))}
    return value if not isinstance(value, list) else [_shown(part) for part in value]
