"""Deployments: a ReplicaSet for each template, and rolling updates from one to the next.

Each call goes one step, as kubernetes/pkg/controller/deployment does: the new ReplicaSet grows as far as maxSurge
allows, the old ones shrink as far as maxUnavailable allows. The next step needs the new pods to be available.
"""

from dataclasses import replace

from testbed.kubernetes.editing import scaled
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.apps import Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec, RollingDeployment
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.values import share_of
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Metadata, Resource, edit
from testbed.kubernetes.workloads.pods import hash_of, owner_of

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


def reconcile(state: ClusterState, deployment: Resource) -> Edit:
    """One step of the Deployment."""
    assert isinstance(deployment.typed, Deployment)
    spec = deployment.typed.spec
    sets = replica_sets(state, deployment)
    own_hash = hash_of(deployment)
    new = next((one for one in sets if one.labels.get(HASH) == own_hash), None)
    old = [one for one in sets if one is not new]
    if spec.paused:
        return _paused(state, deployment, sets)
    if new is None or _revision(new) < max(map(_revision, sets)):
        if spec.strategy.type == "Recreate" and _has_pods(state, old):
            return edit(scaled(one, 0) for one in old if size(one))
        return edit([_with_revision(new or _replica_set(deployment, own_hash), sets)])
    if spec.strategy.type == "Recreate":
        return _recreated(state, spec, new, old)
    return _rolled(state, spec, new, old)


def replica_sets(state: ClusterState, deployment: Resource) -> list[Resource]:
    """ReplicaSets of a Deployment, the oldest first."""
    own = state.children(deployment, "ReplicaSet")
    return sorted(own, key=lambda one: (_revision(one), one.metadata.created, one.name))


def size(replica_set: Resource) -> int:
    """Pods that a ReplicaSet asks for."""
    assert isinstance(replica_set.typed, ReplicaSet)
    return replica_set.typed.spec.replicas


def surge(spec: DeploymentSpec) -> tuple[int, int]:
    """How many pods an update may add, and how many may be unavailable."""
    rolling = spec.strategy.rolling_update or RollingDeployment()
    more = share_of(rolling.max_surge, spec.replicas, round_up=True)
    fewer = share_of(rolling.max_unavailable, spec.replicas, round_up=False)
    return more, fewer if more or fewer else 1


def _rolled(state: ClusterState, spec: DeploymentSpec, new: Resource, old: list[Resource]) -> Edit:
    max_surge, max_unavailable = surge(spec)
    total = size(new) + sum(map(size, old))
    if size(new) > spec.replicas:
        return edit([scaled(new, spec.replicas)])
    if size(new) < spec.replicas:
        grown = size(new) + min(spec.replicas - size(new), spec.replicas + max_surge - total)
        if grown > size(new):
            return edit([scaled(new, grown)])
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
    return edit(scaled(one, sizes[one.name]) for one in old if sizes[one.name] != size(one))


def _recreated(state: ClusterState, spec: DeploymentSpec, new: Resource, old: list[Resource]) -> Edit:
    if any(map(size, old)):
        return edit(scaled(one, 0) for one in old if size(one))
    if not _has_pods(state, old) and size(new) != spec.replicas:
        return edit([scaled(new, spec.replicas)])
    return _cleaned(state, spec, new, old)


def _paused(state: ClusterState, deployment: Resource, sets: list[Resource]) -> Edit:
    """A paused Deployment starts no update, but its number of pods can change."""
    assert isinstance(deployment.typed, Deployment)
    active = [one for one in sets if size(one)] or sets[-1:]
    if len(active) == 1 and size(active[0]) != deployment.typed.spec.replicas:
        return edit([scaled(active[0], deployment.typed.spec.replicas)])
    return NOTHING


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


def _revision(replica_set: Resource) -> int:
    return int(replica_set.metadata.annotations.get(REVISION, "0"))


def _with_revision(replica_set: Resource, sets: list[Resource]) -> Resource:
    revision = str(max(map(_revision, sets), default=0) + 1)
    annotations = {**replica_set.metadata.annotations, REVISION: revision}
    return replace(replica_set, metadata=replace(replica_set.metadata, annotations=annotations))


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
            owner=owner_of(deployment),
        ),
        typed=ReplicaSet.model_construct(spec=typed),
        body=body,
    )
