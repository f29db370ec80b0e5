"""Preemption: pods of lower priority that a pod evicts from a node to get its place, as kube-scheduler chooses them.

On each node, all pods of lower priority are taken away, then put back one by one, the most important first, as long as
the pod still fits; the rest are its victims. The node with the least harm is chosen.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from testbed.kubernetes.disruption import DISRUPTION_BUDGET, budget, covers
from testbed.kubernetes.priority import Priorities
from testbed.kubernetes.scheduling.loads import Load, Loads
from testbed.kubernetes.state import ClusterState, Pod

Fits = Callable[[Load], bool]


@dataclass(frozen=True)
class Preemption:
    """A node, and the pods to evict from it."""

    load: Load
    victims: tuple[Pod, ...]
    violations: int
    """Victims that a PodDisruptionBudget should keep."""


def preemption(
    state: ClusterState, loads: Loads, priorities: Priorities, pod: Pod, candidates: Iterable[Load], fits: Fits
) -> Preemption | None:
    """The preemption that does the least harm; None if evicting pods of lower priority helps on no node."""
    found = (_on(state, loads, priorities, priorities.of(pod), load, fits) for load in candidates)
    return min((one for one in found if one), key=lambda one: _harm(one, priorities), default=None)


def is_waiting(loads: Loads, priorities: Priorities, pod: Pod) -> bool:
    """Whether victims of a pod still terminate on the node that it is nominated for."""
    load = loads.by_name.get(pod.nominated)
    own = priorities.of(pod)
    return load is not None and any(one.is_terminating and priorities.of(one) < own for one in load.pods.values())


def _on(
    state: ClusterState, loads: Loads, priorities: Priorities, own: int, load: Load, fits: Fits
) -> Preemption | None:
    lower = [pod for pod in load.pods.values() if priorities.of(pod) < own]
    if not lower:
        return None
    for pod in lower:
        loads.remove(pod)
    victims: list[Pod] = []
    kept: list[Pod] = []
    try:
        if not fits(load):
            return None
        protected = _protected(state, lower)
        order = sorted(lower, key=lambda pod: (pod.uid not in protected, -priorities.of(pod), _age(pod)))
        for pod in order:
            loads.add(pod)
            kept.append(pod)
            if not fits(load):
                loads.remove(pod)
                kept.remove(pod)
                victims.append(pod)
        return Preemption(load, tuple(victims), sum(pod.uid in protected for pod in victims))
    finally:
        for pod in lower:
            if pod not in kept:
                loads.add(pod)


def _protected(state: ClusterState, pods: Iterable[Pod]) -> set[str]:
    """UIDs of the pods that a PodDisruptionBudget does not allow to evict, if they were evicted in turn."""
    budgets = [(one, budget(state, one).allowed) for one in state.of(DISRUPTION_BUDGET).values()]
    left = {one.uid: allowed for one, allowed in budgets}
    found: set[str] = set()
    for pod in pods:
        for one, _ in budgets:
            if covers(one, pod):
                left[one.uid] -= 1
                if left[one.uid] < 0:
                    found.add(pod.uid)
    return found


def _age(pod: Pod) -> float:
    return pod.started_at if pod.started_at is not None else pod.metadata.created


def _harm(one: Preemption, priorities: Priorities) -> tuple[float, ...]:
    """Violated budgets, priority of the highest victim, sum of priorities, number of victims, then their age."""
    values = [priorities.of(pod) for pod in one.victims]
    highest = max(values, default=0)
    earliest = min((_age(pod) for pod in one.victims if priorities.of(pod) == highest), default=0.0)
    return one.violations, highest, sum(values), len(values), -earliest, one.load.number
