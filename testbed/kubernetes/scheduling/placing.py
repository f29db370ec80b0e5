"""Placing pods one after another: filters, preferences, even spread."""

from collections import Counter
from dataclasses import dataclass, field, replace

from testbed.kubernetes.cluster import MAX_PODS
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.scheduling import preferences
from testbed.kubernetes.scheduling.fixed import refusal
from testbed.kubernetes.scheduling.neighbours import Counted, Group, Neighbours, Wishes
from testbed.kubernetes.scheduling.ports import NO_PORTS, HostPort, conflicts
from testbed.kubernetes.scheduling.spread import Constraint
from testbed.kubernetes.state import ClusterState, Pod, Resource

TOO_MANY = "Too many pods"
NO_NODES = "no nodes available to schedule pods"
GATED = "Scheduling is blocked due to non-empty scheduling gates"
SCHEDULER = "default-scheduler"


@dataclass
class _Load:
    """A node with the pods that it has."""

    node: Resource
    number: int
    room: int
    pods: int = 0
    ports: set[HostPort] = field(default_factory=set)
    workloads: Counter[str] = field(default_factory=Counter)


@dataclass
class _Class:
    """Pods that are the same to the scheduler, and what is known about them."""

    group: Group
    fitting: list[_Load]
    refused: Counter[str]
    """Nodes that no pod of the class can run on, by reason."""
    hard: list[Constraint]
    soft: list[Constraint]
    """Spread constraints that must be, or should be, fulfilled."""
    fixed_scores: dict[str, int]
    """Preference for each fitting node that does not depend on other pods; empty if all are equal."""
    ports: tuple[HostPort, ...]
    has_preferences: bool
    wishes: Wishes


def schedule(state: ClusterState) -> ClusterState:
    """The state with a node, or the reason why it has none, for each pod that waits for one."""
    waiting = [pod for pod in state.pods if not pod.node and pod.is_active]
    if not waiting:
        return state
    placer = _Placer(state)
    waiting.sort(key=lambda pod: -pod.spec.priority)
    placed = [placer.place(pod) for pod in waiting]
    return state.changed(new for new, old in zip(placed, waiting, strict=True) if new is not old)


class _Placer:
    def __init__(self, state: ClusterState) -> None:
        nodes = list(state.of("Node").values())
        self.nodes = [_Load(node, number, _room(node)) for number, node in enumerate(nodes)]
        self.by_name = {load.node.name: load for load in self.nodes}
        namespaces = {name: one.labels for (_, name), one in state.of("Namespace").items()}
        self.neighbours = Neighbours({node.name: node.labels for node in nodes}, namespaces)
        self.classes: dict[tuple[object, ...], _Class] = {}
        for pod in state.pods:
            if pod.node and not pod.is_finished:
                self._add(pod, Group.of(pod))

    def place(self, pod: Pod) -> Pod:
        """The pod with a node, or with a reason."""
        reason = self._gate(pod)
        chosen = None
        if not reason:
            own = self._class(pod)
            reasons: Counter[str] = Counter()
            for constraint in (*own.hard, *own.soft):
                constraint.count()
            avoiders = self.neighbours.avoiders_of(own.group)
            left = [load for load in own.fitting if not _refused(own, load, avoiders, reasons)]
            if left:
                chosen = self._best(pod, own, left)
            else:
                reason = self._explained(reasons + own.refused)
        if chosen is None:
            return pod if pod.reason == reason else replace(pod, reason=reason)
        bound = replace(pod, node=chosen.node.name, reason="")
        self._add(bound, own.group)
        return bound

    def _gate(self, pod: Pod) -> str:
        if pod.spec.scheduling_gates:
            return GATED
        if pod.spec.scheduler_name != SCHEDULER:
            return f"no scheduler is named {pod.spec.scheduler_name}"
        return "" if self.nodes else NO_NODES

    def _add(self, pod: Pod, group: Group) -> None:
        load = self.by_name.get(pod.node)
        if load is None:
            return
        load.pods += 1
        load.ports.update(pod.spec.host_ports)
        load.workloads[_workload(pod)] += 1
        self.neighbours.add(pod, group)

    def _class(self, pod: Pod) -> _Class:
        key = (pod.namespace, id(pod.spec), *pod.labels.items())
        if key not in self.classes:
            self.classes[key] = self._new_class(pod)
        return self.classes[key]

    def _new_class(self, pod: Pod) -> _Class:
        spec, group = pod.spec, Group.of(pod)
        fitting: list[_Load] = []
        refused: Counter[str] = Counter()
        for load in self.nodes:
            if reason := refusal(spec, load.node):
                refused[reason] += 1
            else:
                fitting.append(load)
        nodes = [load.node for load in self.nodes]
        constraints = [Constraint(pod, group, one, nodes, self.neighbours) for one in spec.topology_spread_constraints]
        return _Class(
            group,
            fitting,
            refused,
            [one for one in constraints if one.is_hard],
            [one for one in constraints if not one.is_hard],
            self._fixed_scores(pod, fitting),
            spec.host_ports,
            preferences.has_preferences(spec),
            self.neighbours.wishes(pod, group),
        )

    def _fixed_scores(self, pod: Pod, fitting: list[_Load]) -> dict[str, int]:
        taints = preferences.normalized(preferences.taint_score(pod.spec, load.node) for load in fitting)
        nodes = preferences.normalized(preferences.node_score(pod.spec, load.node) for load in fitting)
        if not any(taints) and not any(nodes):
            return {}
        pairs = zip(taints, nodes, strict=True)
        scores = (preferences.TAINTS * taint + preferences.NODES * node for taint, node in pairs)
        return {load.node.name: score for load, score in zip(fitting, scores, strict=True)}

    def _best(self, pod: Pod, own: _Class, left: list[_Load]) -> _Load:
        workload = _workload(pod)
        if not own.has_preferences and not own.fixed_scores:
            return min(left, key=lambda load: (load.workloads[workload], load.pods, load.number))
        scores = dict(zip((load.number for load in left), _scores(own, left), strict=True))
        return min(left, key=lambda load: (-scores[load.number], load.workloads[workload], load.pods, load.number))

    def _explained(self, reasons: Counter[str]) -> str:
        """The scheduler's message, such as `0/3 nodes are available: 3 Too many pods.`"""
        listed = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
        return f"0/{len(self.nodes)} nodes are available: {listed}."


def _refused(own: _Class, load: _Load, avoiders: list[Counted], reasons: Counter[str]) -> bool:
    """Whether a node cannot take a pod now; counts the reason."""
    reason = ""
    if own.ports and conflicts(own.ports, load.ports):
        reason = NO_PORTS
    elif load.pods >= load.room:
        reason = TOO_MANY
    elif own.hard:
        labels = load.node.labels
        reason = next((found for one in own.hard if (found := one.refusal(labels.get(one.key)))), "")
    if not reason and (avoiders or not own.wishes.are_none):
        reason = own.wishes.refusal(load.node.labels, avoiders)
    if reason:
        reasons[reason] += 1
    return bool(reason)


def _scores(own: _Class, left: list[_Load]) -> list[int]:
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


def _skew(constraint: Constraint, load: _Load) -> int:
    domain = load.node.labels.get(constraint.key)
    return constraint.skew(domain) if domain is not None else 1000


def _room(node: Resource) -> int:
    assert isinstance(node.typed, Node)
    text = str(node.typed.status.allocatable.get("pods", MAX_PODS))
    return int(text) if text.isdigit() else MAX_PODS


def _workload(pod: Pod) -> str:
    return pod.metadata.owner.uid if pod.metadata.owner else pod.uid
