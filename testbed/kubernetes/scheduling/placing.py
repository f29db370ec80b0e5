"""Placing pods one after another: filters, preferences, even spread, preemption."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.priority import Priorities
from testbed.kubernetes.scheduling import preferences
from testbed.kubernetes.scheduling.fixed import refusal
from testbed.kubernetes.scheduling.loads import Load, Loads, loads_of, workload
from testbed.kubernetes.scheduling.neighbours import Counted, Group, Wishes
from testbed.kubernetes.scheduling.ports import NO_PORTS, HostPort, conflicts
from testbed.kubernetes.scheduling.preemption import is_waiting, preemption
from testbed.kubernetes.scheduling.resources import lacking
from testbed.kubernetes.scheduling.spread import Constraint
from testbed.kubernetes.state import ClusterState, Edit, Pod, edit

NO_NODES = "no nodes available to schedule pods"
GATED = "Scheduling is blocked due to non-empty scheduling gates"
SCHEDULER = "default-scheduler"
MAX_CLASSES = 1000
"""Classes of pods that are remembered from one state to the next."""


@dataclass
class _Class:
    """Pods that are the same to the scheduler, and what is known about them."""

    example: Pod
    group: Group
    fitting: list[Load]
    refused: Counter[str]
    """Nodes that no pod of the class can run on, by reason."""
    hard: list[Constraint]
    soft: list[Constraint]
    """Spread constraints that must be, or should be, fulfilled."""
    fixed_scores: dict[str, int]
    """Preference for each fitting node that does not depend on other pods; empty if all are equal."""
    ports: tuple[HostPort, ...]
    requests: Mapping[str, int]
    has_preferences: bool
    wishes: Wishes


def schedule(state: ClusterState) -> ClusterState:
    """The state with a node, or the reason why it has none, for each pod that waits for one."""
    waiting = [pod for pod in state.pods_on("") if pod.is_active]
    if not waiting:
        return state
    priorities = Priorities(state)
    loads = loads_of(state)
    placer = _Placer(state, loads, priorities)
    waiting.sort(key=lambda pod: -priorities.of(pod))
    placed = [placer.place(pod) for pod in waiting]
    placer.forget_reserved()
    state.memo["loads"] = loads
    changed = (new for new, old in zip(placed, waiting, strict=True) if new is not old)
    return state.edited([edit(changed), *placer.evictions])


class _Placer:
    def __init__(self, state: ClusterState, loads: Loads, priorities: Priorities) -> None:
        self.state = state
        self.loads = loads
        self.priorities = priorities
        if len(loads.classes) > MAX_CLASSES:
            loads.classes.clear()
        self.evictions: list[Edit] = []
        self.reserved: list[Pod] = []
        """Pods counted on the node that they are nominated for, so that those after them leave its place free."""
        self.hopeless: set[int] = set()
        """Classes whose pods can preempt none."""

    def place(self, pod: Pod) -> Pod:
        """The pod with a node, or with a reason."""
        if reason := self._gate(pod):
            return pod if pod.reason == reason else replace(pod, reason=reason)
        own = self._class(pod)
        reasons: Counter[str] = Counter()
        left = self._left(own, own.fitting, reasons)
        if left:
            bound = replace(pod, node=self._best(pod, own, left).node.name, reason="", nominated="")
            self.loads.add(bound)
            return bound
        reason = self._explained(reasons + own.refused)
        nominated = self._nominated(pod, own)
        if nominated:
            reserved = replace(pod, node=nominated)
            self.loads.add(reserved)
            self.reserved.append(reserved)
        is_same = (pod.reason, pod.nominated) == (reason, nominated)
        return pod if is_same else replace(pod, reason=reason, nominated=nominated)

    def forget_reserved(self) -> None:
        """Count the pods that are only nominated no more."""
        for pod in self.reserved:
            self.loads.remove(pod)

    def _left(self, own: _Class, loads: list[Load], reasons: Counter[str]) -> list[Load]:
        """Nodes that can take a pod now; counts the reasons of the others."""
        for constraint in (*own.hard, *own.soft):
            constraint.count()
        avoiders = self.loads.neighbours.avoiders_of(own.group)
        return [load for load in loads if not _refused(own, load, avoiders, reasons)]

    def _nominated(self, pod: Pod, own: _Class) -> str:
        """The node on which a pod waits for its victims to end; empty if it preempts none."""
        if not self.priorities.may_preempt(pod):
            return ""
        if is_waiting(self.loads, self.priorities, pod):
            return pod.nominated
        if id(own) in self.hopeless:
            return ""

        def fits(load: Load) -> bool:
            return bool(self._left(own, [load], Counter()))

        found = preemption(self.state, self.loads, self.priorities, pod, own.fitting, fits)
        if found is None:
            self.hopeless.add(id(own))
            return ""
        self.evictions.append(ended(found.victims, self.state.now))
        return found.load.node.name

    def _gate(self, pod: Pod) -> str:
        if pod.spec.scheduling_gates:
            return GATED
        if pod.spec.scheduler_name != SCHEDULER:
            return f"no scheduler is named {pod.spec.scheduler_name}"
        return "" if self.loads.nodes else NO_NODES

    def _class(self, pod: Pod) -> _Class:
        key = (pod.namespace, id(pod.spec), *pod.labels.items())
        known = self.loads.classes.get(key)
        if known is None:
            known = self.loads.classes[key] = self._new_class(pod)
        assert isinstance(known, _Class)
        return known

    def _new_class(self, pod: Pod) -> _Class:
        spec, group = pod.spec, Group.of(pod)
        fitting: list[Load] = []
        refused: Counter[str] = Counter()
        for load in self.loads.nodes:
            if reason := refusal(spec, load.node):
                refused[reason] += 1
            else:
                fitting.append(load)
        nodes = [load.node for load in self.loads.nodes]
        neighbours = self.loads.neighbours
        constraints = [Constraint(pod, group, one, nodes, neighbours) for one in spec.topology_spread_constraints]
        return _Class(
            example=pod,
            group=group,
            fitting=fitting,
            refused=refused,
            hard=[one for one in constraints if one.is_hard],
            soft=[one for one in constraints if not one.is_hard],
            fixed_scores=self._fixed_scores(pod, fitting),
            ports=spec.host_ports,
            requests=self.loads.requested(pod),
            has_preferences=preferences.has_preferences(spec),
            wishes=neighbours.wishes(pod, group),
        )

    def _fixed_scores(self, pod: Pod, fitting: list[Load]) -> dict[str, int]:
        taints = preferences.normalized(preferences.taint_score(pod.spec, load.node) for load in fitting)
        nodes = preferences.normalized(preferences.node_score(pod.spec, load.node) for load in fitting)
        if not any(taints) and not any(nodes):
            return {}
        pairs = zip(taints, nodes, strict=True)
        scores = (preferences.TAINTS * taint + preferences.NODES * node for taint, node in pairs)
        return {load.node.name: score for load, score in zip(fitting, scores, strict=True)}

    def _best(self, pod: Pod, own: _Class, left: list[Load]) -> Load:
        if pod.nominated and (found := next((load for load in left if load.node.name == pod.nominated), None)):
            return found
        name = workload(pod)
        if not own.has_preferences and not own.fixed_scores:
            return min(left, key=lambda load: (load.workloads[name], len(load.pods), load.number))
        scores = dict(zip((load.number for load in left), _scores(own, left), strict=True))
        return min(left, key=lambda load: (-scores[load.number], load.workloads[name], len(load.pods), load.number))

    def _explained(self, reasons: Counter[str]) -> str:
        """The scheduler's message, such as `0/3 nodes are available: 3 Too many pods.`"""
        listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
        return f"0/{len(self.loads.nodes)} nodes are available: {listed}."


def _refused(own: _Class, load: Load, avoiders: list[Counted], reasons: Counter[str]) -> bool:
    """Whether a node cannot take a pod now; counts the reasons."""
    if own.ports and conflicts(own.ports, load.ports):
        reasons[NO_PORTS] += 1
        return True
    if missing := tuple(lacking(own.requests, load.used, load.has)):
        reasons.update(missing)
        return True
    reason = ""
    if own.hard:
        labels = load.node.labels
        reason = next((found for one in own.hard if (found := one.refusal(labels.get(one.key)))), "")
    if not reason and (avoiders or not own.wishes.are_none):
        reason = own.wishes.refusal(load.node.labels, avoiders)
    if reason:
        reasons[reason] += 1
    return bool(reason)


def _scores(own: _Class, left: list[Load]) -> list[int]:
    """How much each node is preferred."""
    fixed = [own.fixed_scores.get(load.node.name, 0) for load in left]
    if not own.has_preferences:
        return fixed
    pods = preferences.normalized(own.wishes.score(load.node.labels) for load in left)
    spread = preferences.normalized(-sum(_skew(one, load) for one in own.soft) for load in left)
    return [
        score + preferences.PODS * near + preferences.SPREAD * even
        for score, near, even in zip(fixed, pods, spread, strict=True)
    ]


def _skew(constraint: Constraint, load: Load) -> int:
    domain = load.node.labels.get(constraint.key)
    return constraint.skew(domain) if domain is not None else 1000
