"""Fields that cannot change once an object exists."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from testbed.kubernetes.state import Resource
from testbed.spec.problems import Loc, Misfit

_STATEFUL_MUTABLE = (
    *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds"),
    "persistentVolumeClaimRetentionPolicy",
)
_POD_MUTABLE = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates")
RECREATE = "; delete the object first, then apply it again"


def immutable_misfits(old: Resource, new: Resource) -> Iterator[Misfit]:
    """Changes of immutable fields from an object to its new version."""
    check = _CHECKS.get(old.kind.name)
    return check(old, new) if check else iter(())


def _selector(old: Resource, new: Resource) -> Iterator[Misfit]:
    before, after = _spec(old, "selector"), _spec(new, "selector")
    if before != after:
        yield Misfit(("spec", "selector"), f"is immutable, and was {_short(before)}{RECREATE}", at_key=True)


def _stateful_set(old: Resource, new: Resource) -> Iterator[Misfit]:
    yield from _changes(old, new, except_for=_STATEFUL_MUTABLE)


def _job(old: Resource, new: Resource) -> Iterator[Misfit]:
    for key in ("template", "selector", "completionMode", "completions"):
        is_elastic = key == "completions" and _spec(old, "completionMode") == "Indexed"
        if _spec(old, key) != _spec(new, key) and not is_elastic:
            yield Misfit(("spec", key), f"is immutable in a Job{RECREATE}", at_key=True)


def _pod(old: Resource, new: Resource) -> Iterator[Misfit]:
    def fixed(one: Resource) -> dict[str, Any]:
        return {
            key: [{name: part for name, part in item.items() if name != "image"} for item in value]
            if key in ("containers", "initContainers")
            else value
            for key, value in one.body.get("spec", {}).items()
            if key not in _POD_MUTABLE
        }

    yield from _differences(fixed(old), fixed(new), f"is immutable in a Pod{RECREATE}")


def _service(old: Resource, new: Resource) -> Iterator[Misfit]:
    """Changed cluster addresses; a second one may be added or removed."""
    if "ExternalName" in (_spec(old, "type"), _spec(new, "type")):
        return
    for number, (before, after) in enumerate(zip(_addresses(old), _addresses(new), strict=False)):
        if before != after:
            at: Loc = ("spec", "clusterIPs", 1) if number else ("spec", "clusterIP")
            yield Misfit(at, f"is immutable, and was {before}{RECREATE}", at_key=True)


def _addresses(service: Resource) -> list[str]:
    return _spec(service, "clusterIPs") or [one for one in (_spec(service, "clusterIP"),) if one]


def _data(old: Resource, new: Resource) -> Iterator[Misfit]:
    if old.body.get("immutable"):
        for key in ("data", "binaryData", "immutable", "stringData"):
            if old.body.get(key) != new.body.get(key):
                at: Loc = (key,)
                yield Misfit(at, f"cannot change, as the object is `immutable: true`{RECREATE}", at_key=True)
    if old.kind.name == "Secret" and old.body.get("type", "Opaque") != new.body.get("type", "Opaque"):
        yield Misfit(("type",), f"is immutable, and was {old.body.get('type', 'Opaque')}{RECREATE}", at_key=True)


def _endpoint_slice(old: Resource, new: Resource) -> Iterator[Misfit]:
    if old.body.get("addressType") != new.body.get("addressType"):
        yield Misfit(("addressType",), f"is immutable, and was {old.body.get('addressType')}{RECREATE}", at_key=True)


def _node(old: Resource, new: Resource) -> Iterator[Misfit]:
    for key in ("podCIDR", "podCIDRs"):
        before, after = _spec(old, key), _spec(new, key)
        if before and after and before != after:
            message = f"follows from the topology and is {_short(before)}; remove this field"
            yield Misfit(("spec", key), message, at_key=True)


def _changes(old: Resource, new: Resource, except_for: tuple[str, ...]) -> Iterator[Misfit]:
    before, after = (
        {key: value for key, value in one.body.get("spec", {}).items() if key not in except_for} for one in (old, new)
    )
    yield from _differences(before, after, f"is immutable in a {old.kind.name}{RECREATE}")


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], message: str) -> Iterator[Misfit]:
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            yield Misfit(("spec", key), message if key in after else f"'{key}' was removed, and {message}", at_key=True)


def _spec(one: Resource, key: str) -> Any:
    return one.body.get("spec", {}).get(key)


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) <= {"matchLabels"}:
        return ",".join(f"{key}={text}" for key, text in value.get("matchLabels", {}).items()) or "empty"
    return str(value)


_CHECKS: Mapping[str, Callable[[Resource, Resource], Iterator[Misfit]]] = {
    "Deployment": _selector,
    "ReplicaSet": _selector,
    "DaemonSet": _selector,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "EndpointSlice": _endpoint_slice,
    "Node": _node,
}
