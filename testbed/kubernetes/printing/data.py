"""An object's whole data, as the API server shows it: what is written, with defaults, metadata and status."""

from typing import Any

from testbed.kubernetes.defaults import whole_spec
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
    data |= {"spec": spec} if (spec := whole_spec(data.get("spec"), one.typed)) else {}
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
