"""Deployments: a ReplicaSet for each template, and rolling updates from one to the next.

Each call goes one step, as kubernetes/pkg/controller/deployment does: the new ReplicaSet grows as far as maxSurge
allows, the old ones shrink as far as maxUnavailable allows. The next step needs the new pods to be available.
"""

from collections.abc import Iterator

from testbed.kubernetes.editing import annotated, scaled
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.apps import Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Metadata, Resource, edit
from testbed.kubernetes.workloads.pods import claims, hash_of, owner_of
from testbed.kubernetes.workloads.proportional import is_scaling, resized, size, sized, surge

REPLICA_SET = BY_NAME["ReplicaSet"]
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
"""Revisions that a ReplicaSet had before a rollback to it."""
_NOT_COPIED = (REVISION, HISTORY, "kubectl.kubernetes.io/last-applied-configuration")


def reconcile(state: ClusterState, deployment: Resource) -> Edit:
    """One step of the Deployment."""
    assert isinstance(deployment.typed, Deployment)
    spec = deployment.typed.spec
    if (claimed := claims(state, deployment, spec.selector, REPLICA_SET)) is not NOTHING:
        return claimed
    sets = replica_sets(state, deployment)
    new = new_replica_set(state, deployment)
    old = [one for one in sets if one is not new]
    is_recreated = spec.strategy.type == "Recreate"
    if spec.paused or (not is_recreated and is_scaling(spec, sets)):
        return edit(resized(state, spec, new, old))
    if new is None or revision(new) < max(map(revision, sets)):
        if is_recreated and _has_pods(state, old):
            return edit(scaled(one, 0) for one in old if size(one))
        new = _with_revision(new or _replica_set(deployment, hash_of(deployment)), sets)
        return edit([new, *_noted(deployment, new)])
    found = _recreated(state, spec, new, old) if is_recreated else _rolled(state, spec, new, old)
    return edit([*found.put, *_noted(deployment, new)], found.gone)


def inputs(state: ClusterState, deployment: Resource) -> Iterator[object]:
    """What `reconcile` and the status depend on, besides the Deployment itself and the time."""
    yield state.group("free", deployment.namespace)
    own = state.group("owner", deployment.uid)
    yield own
    for one in own.values():
        yield state.group("owner", one.uid)


def replica_sets(state: ClusterState, deployment: Resource) -> list[Resource]:
    """ReplicaSets of a Deployment, the oldest first."""
    own = state.children(deployment, REPLICA_SET)
    return sorted(own, key=lambda one: (revision(one), one.metadata.created, one.name))


def new_replica_set(state: ClusterState, deployment: Resource) -> Resource | None:
    """The ReplicaSet of the Deployment's template; None if there is none yet."""
    own_hash = hash_of(deployment)
    own = state.children(deployment, REPLICA_SET)
    return next((one for one in own if one.labels.get(HASH) == own_hash), None)


def _rolled(state: ClusterState, spec: DeploymentSpec, new: Resource, old: list[Resource]) -> Edit:
    max_surge, max_unavailable = surge(spec)
    total = size(new) + sum(map(size, old))
    if size(new) > spec.replicas:
        return edit([sized(new, spec.replicas, spec)])
    if size(new) < spec.replicas:
        grown = size(new) + min(spec.replicas - size(new), spec.replicas + max_surge - total)
        if grown > size(new):
            return edit([sized(new, grown, spec)])
    at_least = spec.replicas - max_unavailable
    spare = total - at_least - (size(new) - _available(state, new, spec))
    if spare <= 0 or not any(map(size, old)):
        return _cleaned(state, spec, new, old)
    sizes = {one.name: size(one) for one in old}
    for one in old:  # Pods that are not available are of no use.
        useless = min(spare, max(0, sizes[one.name] - _available(state, one, spec)))
        sizes[one.name] -= useless
        spare -= useless
    available = _available(state, new, spec) + sum(min(sizes[one.name], _available(state, one, spec)) for one in old)
    spare = min(spare, available - at_least)
    for one in old:
        fewer = max(0, min(spare, sizes[one.name]))
        sizes[one.name] -= fewer
        spare -= fewer
    return edit(sized(one, sizes[one.name], spec) for one in old if sizes[one.name] != size(one))


def _recreated(state: ClusterState, spec: DeploymentSpec, new: Resource, old: list[Resource]) -> Edit:
    if any(map(size, old)):
        return edit(scaled(one, 0) for one in old if size(one))
    if not _has_pods(state, old) and size(new) != spec.replicas:
        return edit([sized(new, spec.replicas, spec)])
    return _cleaned(state, spec, new, old)


def _cleaned(state: ClusterState, spec: DeploymentSpec, new: Resource, old: list[Resource]) -> Edit:
    """Old ReplicaSets beyond the history limit are removed once an update is complete."""
    if _available(state, new, spec) < spec.replicas:
        return NOTHING
    empty = [one for one in old if not size(one) and not state.pods_of(one)]
    surplus = len(empty) - spec.revision_history_limit
    return edit(gone=empty[:surplus]) if surplus > 0 else NOTHING


def _available(state: ClusterState, replica_set: Resource, spec: DeploymentSpec) -> int:
    pods = state.pods_of(replica_set)
    return sum(pod.is_active and pod.is_available(state.now, spec.min_ready_seconds) for pod in pods)


def _has_pods(state: ClusterState, sets: list[Resource]) -> bool:
    return any(not pod.is_finished for one in sets for pod in state.pods_of(one))


def revision(replica_set: Resource) -> int:
    """The number of a ReplicaSet's template in the history of its Deployment; 0 if it has none."""
    text = replica_set.metadata.annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _with_revision(replica_set: Resource, sets: list[Resource]) -> Resource:
    """The ReplicaSet as the latest of its Deployment; the revisions that it had are kept as its history."""
    latest = str(max(map(revision, sets), default=0) + 1)
    before = replica_set.metadata.annotations
    history = [one for one in (before.get(HISTORY), before.get(REVISION)) if one]
    return annotated(replica_set, {REVISION: latest, **({HISTORY: ",".join(history)} if history else {})})


def _noted(deployment: Resource, new: Resource) -> list[Resource]:
    """The Deployment with the revision of its template; nothing if it has that already."""
    latest = str(revision(new))
    return (
        [] if deployment.metadata.annotations.get(REVISION) == latest else [annotated(deployment, {REVISION: latest})]
    )


def _replica_set(deployment: Resource, own_hash: str) -> Resource:
    """The ReplicaSet of the Deployment's template, without pods yet."""
    assert isinstance(deployment.typed, Deployment)
    spec = deployment.typed.spec
    label = {HASH: own_hash}
    meta = spec.template.metadata
    template = spec.template.model_copy(
        update={"metadata": meta.model_copy(update={"labels": {**meta.labels, **label}})}
    )
    selector = LabelSelector.model_construct(
        match_labels={**spec.selector.match_labels, **label}, match_expressions=spec.selector.match_expressions
    )
    typed = ReplicaSetSpec.model_construct(
        selector=selector, template=template, replicas=0, min_ready_seconds=spec.min_ready_seconds
    )
    raw = deployment.body["spec"]
    raw_template = raw["template"]
    raw_metadata = raw_template.get("metadata", {})
    raw_labels = {**raw_metadata.get("labels", {}), **label}
    raw_selector = raw["selector"]
    body = {
        "spec": {
            **({"minReadySeconds": raw["minReadySeconds"]} if "minReadySeconds" in raw else {}),
            "replicas": 0,
            "selector": {**raw_selector, "matchLabels": {**raw_selector.get("matchLabels", {}), **label}},
            "template": {**raw_template, "metadata": {**raw_metadata, "labels": raw_labels}},
        }
    }
    return Resource(
        kind=BY_NAME["ReplicaSet"],
        metadata=Metadata(
            name=f"{deployment.name}-{own_hash}",
            namespace=deployment.namespace,
            labels={**meta.labels, **label},
            annotations={key: text for key, text in deployment.metadata.annotations.items() if key not in _NOT_COPIED},
            owner=owner_of(deployment),
        ),
        typed=ReplicaSet.model_construct(spec=typed),
        body=body,
    )
