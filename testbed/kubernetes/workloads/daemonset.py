"""DaemonSets: a pod on each node that fits."""

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.models.apps import DaemonSet, DaemonSetSpec, RollingDaemonSet
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.models.scheduling import (
    NodeAffinity,
    NodeRequirement,
    NodeSelector,
    NodeSelectorTerm,
    Toleration,
)
from testbed.kubernetes.models.values import share_of
from testbed.kubernetes.scheduling.fixed import fits_node, may_stay
from testbed.kubernetes.state import NOTHING, ClusterState, Edit, Pod, Resource, edit
from testbed.kubernetes.workloads.pods import PodMaker, available, claims, hash_of

REVISION = "controller-revision-hash"
_TOLERATED = {
    "node.kubernetes.io/not-ready": "NoExecute",
    "node.kubernetes.io/unreachable": "NoExecute",
    "node.kubernetes.io/disk-pressure": "NoSchedule",
    "node.kubernetes.io/memory-pressure": "NoSchedule",
    "node.kubernetes.io/pid-pressure": "NoSchedule",
    "node.kubernetes.io/unschedulable": "NoSchedule",
}
"""Taints that pods of DaemonSets tolerate."""
_NETWORK = {"node.kubernetes.io/network-unavailable": "NoSchedule"}
"""Tolerated by those in the network of their node."""


def reconcile(state: ClusterState, daemon_set: Resource) -> Edit:
    """Add pods on nodes that lack one, and remove those that do not fit or are old."""
    assert isinstance(daemon_set.typed, DaemonSet)
    spec = daemon_set.typed.spec
    if (claimed := claims(state, daemon_set, spec.selector)) is not NOTHING:
        return claimed
    revision = hash_of(daemon_set)
    base = with_tolerations(spec.template.spec)
    pods: dict[str, list[Pod]] = {}
    for pod in state.pods_of(daemon_set):
        if not pod.is_finished:
            pods.setdefault(_target(pod), []).append(pod)
    maker = PodMaker(state, daemon_set, spec.template)
    made: list[Pod] = []
    going: list[Pod] = []
    nodes = {name: node for (_, name), node in _nodes(state)}
    for name, node in nodes.items():
        if not pods.get(name) and fits_node(base, node):
            made.append(_pod(maker, base, name, revision))
    staying = {name: own for name, own in pods.items() if name in nodes and may_stay(base, nodes[name])}
    for name, own in pods.items():
        if name not in staying:
            going += [pod for pod in own if pod.is_active]
    if made or going:
        going_on = ended(going, state.now)
        return edit([*made, *going_on.put], going_on.gone)
    return _updated(state, spec, maker, base, staying, revision)


def status(state: ClusterState, daemon_set: Resource) -> dict[str, Any]:
    """The status of a DaemonSet."""
    assert isinstance(daemon_set.typed, DaemonSet)
    base = with_tolerations(daemon_set.typed.spec.template.spec)
    pods = [pod for pod in state.pods_of(daemon_set) if pod.is_active]
    matching = {name for (_, name), node in _nodes(state) if fits_node(base, node)}
    placed = {_target(pod) for pod in pods}
    on_nodes = [pod for pod in pods if _target(pod) in matching]
    count = available(on_nodes, state.now, daemon_set.typed.spec.min_ready_seconds)
    revision = hash_of(daemon_set)
    return {
        "observedGeneration": daemon_set.metadata.generation,
        "desiredNumberScheduled": len(matching),
        "currentNumberScheduled": len(placed & matching),
        "numberReady": sum(pod.is_ready for pod in on_nodes),
        "numberAvailable": count,
        "numberUnavailable": max(0, len(matching) - count),
        "updatedNumberScheduled": sum(_revision(pod) == revision for pod in on_nodes),
        "numberMisscheduled": len(placed - matching),
    }


def inputs(state: ClusterState, daemon_set: Resource) -> Iterator[object]:
    """What `reconcile` and the status depend on, besides the DaemonSet itself and the time."""
    yield state.group("free", daemon_set.namespace)
    yield state.group("owner", daemon_set.uid)
    yield state.of("Node")


def with_tolerations(spec: PodSpec) -> PodSpec:
    """A template's spec with the tolerations that pods of DaemonSets have."""
    keys = {**_TOLERATED, **(_NETWORK if spec.host_network else {})}
    own = (
        Toleration.model_construct(key=key, operator="Exists", value="", effect=effect, toleration_seconds=None)
        for key, effect in keys.items()
    )
    return spec.model_copy(update={"tolerations": (*spec.tolerations, *own)})


def _updated(
    state: ClusterState,
    spec: DaemonSetSpec,
    maker: PodMaker,
    base: PodSpec,
    pods: Mapping[str, list[Pod]],
    revision: str,
) -> Edit:
    """Replace pods of an older template: remove some (maxUnavailable), or add the new ones first (maxSurge)."""
    if spec.update_strategy.type == "OnDelete":
        return NOTHING
    rolling = spec.update_strategy.rolling_update or RollingDaemonSet()
    surge = share_of(rolling.max_surge, len(pods), round_up=True)
    ready = {name for name, own in pods.items() if any(_is_good(pod, state, spec) for pod in own)}
    old = {name: [pod for pod in own if pod.is_active and _revision(pod) != revision] for name, own in pods.items()}
    if surge:
        done = [pod for name, own in old.items() if _has_new(pods[name], revision, state, spec) for pod in own]
        if done:
            return ended(done, state.now)
        under_way = sum(len(own) > 1 for own in pods.values())
        names = [name for name, own in old.items() if own and len(pods[name]) == 1]
        return edit(_pod(maker, base, name, revision) for name in names[: max(0, surge - under_way)])
    may_go = max(1, share_of(rolling.max_unavailable, len(pods), round_up=True)) - (len(pods) - len(ready))
    broken = [pod for name, own in old.items() if name not in ready for pod in own]
    going = [pod for name, own in old.items() if name in ready for pod in own]
    gone = broken + going[: max(0, may_go)]
    return ended(gone, state.now) if gone else NOTHING


def _is_good(pod: Pod, state: ClusterState, spec: DaemonSetSpec) -> bool:
    return pod.is_active and pod.is_available(state.now, spec.min_ready_seconds)


def _has_new(pods: list[Pod], revision: str, state: ClusterState, spec: DaemonSetSpec) -> bool:
    return any(_revision(pod) == revision and _is_good(pod, state, spec) for pod in pods)


def _revision(pod: Pod) -> str:
    return pod.labels.get(REVISION, "")


def _nodes(state: ClusterState) -> list[tuple[tuple[str, str], Resource]]:
    return [(key, one) for key, one in state.of("Node").items() if isinstance(one.typed, Node)]


def _target(pod: Pod) -> str:
    """The node that a pod of a DaemonSet is for."""
    affinity = pod.spec.affinity.node_affinity
    terms = affinity.required.node_selector_terms if affinity and affinity.required else ()
    names = (one.values[0] for term in terms for one in term.match_fields)
    return next(names, pod.node)


def _pod(maker: PodMaker, base: PodSpec, node: str, revision: str) -> Pod:
    affinity, raw = _only(base, maker.raw, node)
    return maker.make(
        labels={REVISION: revision},
        spec=base.model_copy(update={"affinity": base.affinity.model_copy(update={"node_affinity": affinity})}),
        extra=raw,
    )


def _only(base: PodSpec, raw: Mapping[str, Any], node: str) -> tuple[NodeAffinity, dict[str, Any]]:
    """Node affinity to one node, typed and as data; the template's own required one was checked before."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    requirement = NodeRequirement.model_construct(key="metadata.name", operator="In", values=(node,))
    term = NodeSelectorTerm.model_construct(match_expressions=(), match_fields=(requirement,))
    own = base.affinity.node_affinity
    typed = NodeAffinity.model_construct(
        required=NodeSelector.model_construct(node_selector_terms=(term,)), preferred=own.preferred if own else ()
    )
    raw_affinity = raw.get("affinity", {})
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    node_affinity = {
        **raw_affinity.get("nodeAffinity", {}),
        "requiredDuringSchedulingIgnoredDuringExecution": required,
    }
    tolerations = [
        *raw.get("tolerations", ()),
        *(
            {"key": one.key, "operator": "Exists", "effect": one.effect}
            for one in base.tolerations[len(raw.get("tolerations", ())) :]
        ),
    ]
    return typed, {"affinity": {**raw_affinity, "nodeAffinity": node_affinity}, "tolerations": tolerations}
