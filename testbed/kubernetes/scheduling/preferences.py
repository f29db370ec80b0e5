"""What makes one node better than another: preferred affinities, preferred taints, soft spread constraints.

Each is brought to 0 to 100 over the nodes that are left, and weighted as in kube-scheduler.
"""

from collections.abc import Iterable

from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.scheduling.fixed import tolerated
from testbed.kubernetes.state import Resource

TAINTS, NODES, PODS, SPREAD = 3, 2, 2, 2
"""Weights of the plugins TaintToleration, NodeAffinity, InterPodAffinity and PodTopologySpread."""


def has_preferences(spec: PodSpec) -> bool:
    """Whether a pod prefers some nodes to others, apart from taints."""
    affinity = spec.affinity
    return bool(
        (affinity.node_affinity and affinity.node_affinity.preferred)
        or (affinity.pod_affinity and affinity.pod_affinity.preferred)
        or (affinity.pod_anti_affinity and affinity.pod_anti_affinity.preferred)
        or any(one.when_unsatisfiable == "ScheduleAnyway" for one in spec.topology_spread_constraints)
    )


def node_score(spec: PodSpec, node: Resource) -> int:
    """Weights of the preferred terms that a node fulfils."""
    affinity = spec.affinity.node_affinity
    preferred = affinity.preferred if affinity else ()
    return sum(one.weight for one in preferred if one.preference.matches(node.name, node.labels))


def taint_score(spec: PodSpec, node: Resource) -> int:
    """Minus the number of PreferNoSchedule taints that a pod does not tolerate."""
    assert isinstance(node.typed, Node)
    taints = (taint for taint in node.typed.spec.taints if taint.effect == "PreferNoSchedule")
    return -sum(not tolerated(spec, taint) for taint in taints)


def normalized(scores: Iterable[int]) -> list[int]:
    """Scores brought to 0 to 100; all 0 if they are equal."""
    values = list(scores)
    least, most = min(values, default=0), max(values, default=0)
    return [100 * (value - least) // (most - least) if most > least else 0 for value in values]
