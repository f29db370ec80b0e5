"""StatefulSets: pods with numbers, made and replaced in order."""

import re
from typing import Any

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.apps import Partition, StatefulSet, StatefulSetSpec
from testbed.kubernetes.models.values import share_of
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Pod, Resource, edit
from testbed.kubernetes.workloads.pods import PodMaker, available, claims, hash_of

POD_NAME = "statefulset.kubernetes.io/pod-name"
INDEX = "apps.kubernetes.io/pod-index"
REVISION = "controller-revision-hash"


def reconcile(state: ClusterState, stateful_set: Resource) -> Edit:
    """One step: with OrderedReady, a pod is made or removed only if all before it are ready."""
    assert isinstance(stateful_set.typed, StatefulSet)
    spec = stateful_set.typed.spec
    member = re.compile(rf"{re.escape(stateful_set.name)}-[0-9]+")
    claimed = claims(state, stateful_set, spec.selector, can_own=lambda one: bool(member.fullmatch(one.name)))
    if claimed is not NOTHING:
        return claimed
    pods = {number: pod for pod in state.pods_of(stateful_set) if (number := ordinal(pod)) is not None}
    first = spec.ordinals.start
    wanted = range(first, first + spec.replicas)
    is_ordered = spec.pod_management_policy == "OrderedReady"
    maker = PodMaker(state, stateful_set, spec.template)
    revision = f"{stateful_set.name}-{hash_of(stateful_set)}"
    made: list[Pod] = []
    for number in wanted:
        pod = pods.get(number)
        if pod is None:
            made.append(_pod(maker, stateful_set, spec, number, revision))
        if is_ordered and (pod is None or not pod.is_active or not pod.is_available(state.now, spec.min_ready_seconds)):
            return edit(made)
    if made:
        return edit(made)
    surplus = sorted((number for number in pods if number not in wanted), reverse=True)
    if surplus:
        return _without(state, [pods[number] for number in surplus], is_ordered)
    return _updated(state, spec, [pods[number] for number in wanted], revision)


def status(state: ClusterState, stateful_set: Resource) -> dict[str, Any]:
    """The status of a StatefulSet."""
    assert isinstance(stateful_set.typed, StatefulSet)
    spec = stateful_set.typed.spec
    pods = [pod for pod in state.pods_of(stateful_set) if pod.is_active]
    revision = f"{stateful_set.name}-{hash_of(stateful_set)}"
    updated = sum(pod.labels.get(REVISION) == revision for pod in pods)
    before = stateful_set.status.get("currentRevision", revision)
    current = revision if updated == len(pods) else before
    return {
        "observedGeneration": stateful_set.metadata.generation,
        "replicas": len(pods),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "availableReplicas": available(pods, state.now, spec.min_ready_seconds),
        "currentReplicas": sum(pod.labels.get(REVISION) == current for pod in pods),
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": revision,
    }


def ordinal(pod: Pod) -> int | None:
    """The number of a StatefulSet's pod."""
    digits = pod.name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else None


def _without(state: ClusterState, pods: list[Pod], is_ordered: bool) -> Edit:
    """Remove pods, the highest number first; in order, each only after the one before has ended."""
    if is_ordered and any(pod.is_terminating for pod in pods):
        return NOTHING
    going = [pod for pod in pods if pod.is_active]
    return ended(going[:1] if is_ordered else going, state.now)


def _updated(state: ClusterState, spec: StatefulSetSpec, pods: list[Pod], revision: str) -> Edit:
    """Replace pods of an older template, the highest number first."""
    if spec.update_strategy.type == "OnDelete":
        return NOTHING
    rolling = spec.update_strategy.rolling_update or Partition()
    old = [pod for pod in pods if pod.labels.get(REVISION) != revision and (ordinal(pod) or 0) >= rolling.partition]
    unavailable = [pod for pod in pods if pod.is_terminating or not pod.is_available(state.now, spec.min_ready_seconds)]
    may_go = max(1, share_of(rolling.max_unavailable, spec.replicas, round_up=True)) - len(unavailable)
    going = [pod for pod in reversed(old) if pod.is_active]
    broken = [pod for pod in going if not pod.is_ready]
    return ended(broken[:1] or going[: max(0, may_go)], state.now) if going else NOTHING


def _pod(maker: PodMaker, stateful_set: Resource, spec: StatefulSetSpec, number: int, revision: str) -> Pod:
    name = f"{stateful_set.name}-{number}"
    names: dict[str, Any] = {"hostname": name, **({"subdomain": spec.service_name} if spec.service_name else {})}
    claims = [one["metadata"]["name"] for one in stateful_set.body["spec"].get("volumeClaimTemplates", ())]
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": f"{one}-{name}"}} for one in claims]
    own = [one for one in maker.raw.get("volumes", ()) if one["name"] not in claims]
    return maker.make(
        name,
        labels={POD_NAME: name, INDEX: str(number), REVISION: revision},
        spec=spec.template.spec.model_copy(update=names),
        extra=names | ({"volumes": volumes + own} if volumes else {}),
    )
