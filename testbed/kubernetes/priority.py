"""Priorities of pods, from their own field or their PriorityClass."""

from testbed.kubernetes.kinds import kept_kind
from testbed.kubernetes.state import ClusterState, Pod

PRIORITY_CLASS = kept_kind("scheduling.k8s.io/v1", "PriorityClass")
SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
"""Classes that every cluster has."""
NEVER = "Never"


class Priorities:
    """The PriorityClasses of a state."""

    def __init__(self, state: ClusterState) -> None:
        classes = {one.name: one.body for one in state.of(PRIORITY_CLASS).values()}
        self.values = {**SYSTEM, **{name: int(body.get("value", 0)) for name, body in classes.items()}}
        self.polite = {name for name, body in classes.items() if body.get("preemptionPolicy") == NEVER}
        self.default = next((name for name, body in classes.items() if body.get("globalDefault")), "")

    def of(self, pod: Pod) -> int:
        """Priority of a pod; the higher is placed first."""
        return pod.spec.priority or self.values.get(pod.spec.priority_class_name or self.default, 0)

    def may_preempt(self, pod: Pod) -> bool:
        """Whether a pod evicts others to get a place."""
        policy = pod.spec.preemption_policy
        if policy is not None:
            return policy != NEVER
        return (pod.spec.priority_class_name or self.default) not in self.polite
