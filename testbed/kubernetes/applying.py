"""Applying manifests to a cluster state: all of them, or none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from testbed.kubernetes.defaults import steady, whole_spec
from testbed.kubernetes.immutable import immutable_misfits
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.batch import JobSpec
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.priority import PRIORITY_CLASS, SYSTEM
from testbed.kubernetes.reading import Manifests, Written
from testbed.kubernetes.services.admission import Refused, admitted
from testbed.kubernetes.services.ranges import Numbers, numbers_of
from testbed.kubernetes.state import ClusterState, Metadata, Pod, Resource
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.topology import MAX_PODS

Outcome = Literal["created", "configured", "unchanged"]
SERVICE = BY_NAME["Service"]


@dataclass(frozen=True)
class Applied:
    """A new state, and what became of each object."""

    state: ClusterState
    outcomes: tuple[tuple[Written, Outcome], ...]


def apply(state: ClusterState, manifests: Manifests) -> Applied:
    """The state with the objects of manifests. Raises SpecError with every problem, and then changes nothing."""
    problems: list[Problem] = []
    put: list[Resource] = []
    outcomes: list[tuple[Written, Outcome]] = []
    namespaces = {name for _, name in state.of("Namespace")}
    namespaces |= {one.typed.metadata.name for one in manifests.objects if one.kind is BY_NAME["Namespace"]}
    nodes = tuple(name for _, name in state.of("Node"))
    priorities = {*SYSTEM, *(name for _, name in state.of(PRIORITY_CLASS))}
    priorities |= {one.typed.metadata.name for one in manifests.objects if one.kind is PRIORITY_CLASS}
    ending = {name for (_, name), one in state.of("Namespace").items() if one.is_terminating}
    services = frozenset((one.namespace, one.typed.metadata.name) for one in manifests.objects if one.kind is SERVICE)
    numbers = numbers_of(state, services) if services else None
    pods = 0
    for one in manifests.objects:
        key = (one.namespace, one.typed.metadata.name)
        old = state.of(one.kind).get(key)
        try:
            new = _resource(one, old, numbers)
        except Refused as error:
            problems += (one.problem(misfit) for misfit in error.misfits)
            continue
        misfits = [*_place_misfits(one, namespaces, nodes)]
        field, wanted = _size(one)
        pods += wanted
        if pods > MAX_PODS:
            misfits.append(Misfit(("spec", field), f"asks for {pods} pods in all; at most {MAX_PODS} are supported"))
        if old is not None:
            misfits += _taken(old) or immutable_misfits(old, new)
        elif one.namespace in ending:
            message = f"namespace '{one.namespace}' is being terminated; wait until it is gone, then apply again"
            misfits.append(Misfit(("metadata", "namespace"), message, at_key=True))
        elif isinstance(one.typed, WrittenPod):
            misfits += _priority_misfits(one.typed, priorities)
        problems += (one.problem(misfit) for misfit in misfits)
        is_same = old is not None and (new is old or _is_same(old, new))
        outcome: Outcome = "created" if old is None else "unchanged" if is_same else "configured"
        if outcome != "unchanged":
            put.append(new)
        outcomes.append((one, outcome))
    if problems:
        raise SpecError(tuple(problems))
    return Applied(state.changed(put), tuple(outcomes))


def _place_misfits(one: Written, namespaces: set[str], nodes: tuple[str, ...]) -> Iterator[Misfit]:
    if one.kind.name == "Node" and one.typed.metadata.name not in nodes:
        message = f"node '{one.typed.metadata.name}' is not in the topology; a manifest can only extend its nodes"
        yield Misfit(("metadata", "name"), message, valid=nodes)
    if one.namespace and one.namespace not in namespaces:
        message = f"namespace '{one.namespace}' not found; add a Namespace of this name to the manifests"
        yield Misfit(("metadata", "namespace"), message, valid=tuple(sorted(namespaces)))


def _priority_misfits(pod: WrittenPod, priorities: set[str]) -> Iterator[Misfit]:
    name = pod.spec.priority_class_name
    if name is not None and name not in priorities:
        message = f"no PriorityClass with name '{name}' was found"
        yield Misfit(("spec", "priorityClassName"), message, valid=tuple(sorted(priorities)))


def _size(one: Written) -> tuple[str, int]:
    """The field that says how many pods a workload runs at a time, and that number."""
    spec = getattr(one.typed, "spec", None)
    key = "parallelism" if isinstance(spec, JobSpec) else "replicas"
    return key, getattr(spec, key, 0)


def _taken(old: Resource) -> list[Misfit]:
    """Why a manifest cannot change an object; empty if it can."""
    if not isinstance(old, Pod) or old.applied:
        return []
    owner = old.metadata.owner
    maker = f"{owner.kind.name} {owner.name}" if owner else "the topology"
    return [Misfit(("metadata", "name"), f"{maker} already has a pod '{old.name}'; choose another name")]


def _resource(one: Written, old: Resource | None, numbers: Numbers | None) -> Resource:
    """The object as it will be: what is written, and what others added to the old one.

    Raises Refused for a Service that cannot be; `numbers` are those of all Services.
    """
    before = old.applied if old else {}
    live = _data(old) if old else {}
    has_status = one.kind.name in _WITH_STATUS
    written = one.data if has_status else {key: part for key, part in one.data.items() if key != "status"}
    if old is not None and one.kind is not SERVICE and before == one.data and _covers(live, written):
        return old
    merged = merge(before, written, live)
    if one.kind is SERVICE and numbers is not None:
        service = admitted(merged, live or None, f"{one.namespace}/{one.typed.metadata.name}", numbers)
        typed: Object = service.typed
        merged = service.data
    else:
        typed = one.typed if merged == written else one.kind.model.model_validate(merged, by_alias=True, by_name=False)
    body = {key: value for key, value in merged.items() if key not in _APART}
    if old is not None and one.kind is not SERVICE and isinstance(body.get("spec"), dict) and "spec" in old.body:
        whole = (whole_spec(each.get("spec"), its) for each, its in ((old.body, old.typed), (body, typed)))
        body["spec"] = steady(old.body["spec"], body["spec"], *whole)
    metadata = Metadata(
        name=typed.metadata.name,
        namespace=one.namespace,
        labels={**typed.metadata.labels, **_OWN_LABELS.get(one.kind.name, _no_labels)(typed.metadata.name)},
        annotations=typed.metadata.annotations,
    )
    status = merged.get("status", {}) if has_status else old.status if old else {}
    if old is not None:
        generation = old.metadata.generation + (body != old.body)
        metadata = replace(
            old.metadata, labels=metadata.labels, annotations=metadata.annotations, generation=generation
        )
        return replace(old, metadata=metadata, typed=typed, body=body, status=status, applied=one.data)
    if isinstance(typed, WrittenPod):
        node = typed.spec.node_name or ""
        return Pod(metadata=metadata, typed=typed, body=body, node=node, applied=one.data)
    return Resource(kind=one.kind, metadata=metadata, typed=typed, body=body, status=status, applied=one.data)


def merge(before: Mapping[str, Any], after: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """Live data with what is applied now, without what was applied before and is not any more. Lists are replaced."""
    result = {key: value for key, value in live.items() if key in after or key not in before}
    for key, value in after.items():
        known = live.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            earlier = before.get(key)
            result[key] = merge(earlier if isinstance(earlier, dict) else {}, value, known)
        else:
            result[key] = value
    return result


def _data(old: Resource) -> dict[str, Any]:
    """An object's data, with the keys of a manifest that has what it has."""
    written = old.applied.get("metadata", {})
    metadata: dict[str, Any] = {**written, "name": old.name}
    for key, own in (("labels", old.labels), ("annotations", old.metadata.annotations)):
        if own or key in written:
            metadata[key] = dict(own)
    data = {"apiVersion": old.kind.api_version, "kind": old.kind.name, "metadata": metadata, **old.body}
    return {**data, "status": dict(old.status)} if old.status and old.kind.name in _WITH_STATUS else data


def _covers(live: Any, written: Any) -> bool:
    """Whether live data has all that is written."""
    if isinstance(live, Mapping) and isinstance(written, Mapping):
        return all(key in live and _covers(live[key], value) for key, value in written.items())
    return bool(live == written)


def _no_labels(name: str) -> dict[str, str]:
    return {}


_OWN_LABELS: Mapping[str, Callable[[str], dict[str, str]]] = {
    "Namespace": lambda name: {"kubernetes.io/metadata.name": name},
}
"""Labels that the API server adds."""
_WITH_STATUS = ("Node", "Service", "Ingress")
"""Kinds whose status a manifest can extend. All others have the status that controllers give them."""
_APART = ("apiVersion", "kind", "metadata", "status")


def _is_same(old: Resource, new: Resource) -> bool:
    def written(one: Resource) -> tuple[Mapping[str, Any], ...]:
        return one.body, one.labels, one.metadata.annotations, one.status

    return written(old) == written(new)
