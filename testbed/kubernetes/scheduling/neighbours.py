"""Pod affinity and anti-affinity: which topology domains have, or must not have, pods that match a term.

A term's matching pods are counted once, by domain, and the counts follow each placement.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.scheduling import PodAffinity, PodAffinityTerm
from testbed.kubernetes.state import Pod

NO_AFFINITY = "node(s) didn't match pod affinity rules"
NO_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """Pods that are the same to every term: same namespace and labels."""

    namespace: str
    labels: tuple[tuple[str, str], ...]

    @staticmethod
    def of(pod: Pod) -> "Group":
        return Group(pod.namespace, tuple(sorted(pod.labels.items())))


@dataclass(frozen=True)
class Term:
    """A term, with what it takes from the pod that has it."""

    key: str
    selector: str
    """Text of the selector, by which equal terms are known."""
    namespaces: frozenset[str]
    label_selector: LabelSelector | None = field(compare=False)
    extra: tuple[tuple[str, str | None, bool], ...] = ()
    """Labels that must be equal (or differ): key, value, whether equal."""

    def matches(self, group: Group) -> bool:
        """Whether the term means pods of a group."""
        if group.namespace not in self.namespaces or self.label_selector is None:
            return False
        labels = dict(group.labels)
        return self.label_selector.matches(labels) and all(
            (labels.get(key) == value) == is_equal for key, value, is_equal in self.extra
        )


@dataclass
class Counted:
    """A term and the number of pods that it means, by domain."""

    term: Term
    domains: Counter[str] = field(default_factory=Counter)

    def near(self, labels: Labels) -> int:
        """Number of pods in the domain of a node with these labels."""
        return self.domains.get(labels.get(self.term.key, ""), 0)


class Neighbours:
    """Counts of all terms of all pods."""

    def __init__(self, node_labels: Mapping[str, Labels], namespace_labels: Mapping[str, Labels]) -> None:
        self.node_labels = node_labels
        self.namespace_labels = namespace_labels
        self.placed: dict[Group, Counter[str]] = {}
        """Pods of each group by node."""
        self.counted: dict[Term, Counted] = {}
        self.matching: dict[Group, list[Counted]] = {}
        self.avoiders: dict[Term, Counter[str]] = {}
        """Domains of pods that have a required anti-affinity term."""

    def add(self, pod: Pod, group: Group, number: int = 1) -> None:
        """Count a pod that has a node; -1 counts it no more."""
        labels = self.node_labels.get(pod.node)
        if labels is None:
            return
        self.placed.setdefault(group, Counter())[pod.node] += number
        for counted in self._matching(group):
            if (domain := labels.get(counted.term.key)) is not None:
                counted.domains[domain] += number
        for term in self._required(pod, pod.spec.affinity.pod_anti_affinity):
            if (domain := labels.get(term.key)) is not None:
                if term not in self.avoiders:
                    self.avoiders[term] = Counter()
                self.avoiders[term][domain] += number

    def wishes(self, pod: Pod, group: Group) -> "Wishes":
        """What a pod asks of its neighbours, and they of it."""
        affinity = pod.spec.affinity
        signs = ((1, affinity.pod_affinity), (-1, affinity.pod_anti_affinity))
        return Wishes(
            near=[self.count(term) for term in self._required(pod, affinity.pod_affinity)],
            apart=[self.count(term) for term in self._required(pod, affinity.pod_anti_affinity)],
            preferred=[
                (sign * one.weight, self.count(self.term(pod, one.pod_affinity_term)))
                for sign, own in signs
                for one in (own.preferred if own else ())
            ],
            group=group,
        )

    def avoiders_of(self, group: Group) -> list[Counted]:
        """Terms of placed pods that want to be apart from a group's pods, with the domains of those pods."""
        return [Counted(term, domains) for term, domains in self.avoiders.items() if term.matches(group)]

    def _required(self, pod: Pod, affinity: PodAffinity | None) -> list[Term]:
        return [self.term(pod, term) for term in affinity.required] if affinity else []

    def term(self, pod: Pod, term: PodAffinityTerm) -> Term:
        """A term of a pod."""
        namespaces = set(term.namespaces)
        if term.namespace_selector is not None:
            selector = term.namespace_selector
            namespaces |= {name for name, labels in self.namespace_labels.items() if selector.matches(labels)}
        elif not namespaces:
            namespaces = {pod.namespace}
        keys = [(key, True) for key in term.match_label_keys] + [(key, False) for key in term.mismatch_label_keys]
        extra = tuple((key, pod.labels[key], is_equal) for key, is_equal in keys if key in pod.labels)
        return Term(term.topology_key, str(term.label_selector), frozenset(namespaces), term.label_selector, extra)

    def count(self, term: Term) -> Counted:
        """The pods that a term means, by domain."""
        if (counted := self.counted.get(term)) is None:
            counted = self.counted[term] = Counted(term)
            self.matching.clear()
            for group, nodes in self.placed.items():
                if term.matches(group):
                    self._count(counted, nodes)
        return counted

    def _count(self, counted: Counted, nodes: Counter[str]) -> None:
        for node, number in nodes.items():
            if (domain := self.node_labels[node].get(counted.term.key)) is not None:
                counted.domains[domain] += number

    def _matching(self, group: Group) -> Iterable[Counted]:
        if group not in self.matching:
            self.matching[group] = [one for term, one in self.counted.items() if term.matches(group)]
        return self.matching[group]


@dataclass
class Wishes:
    """The terms of equal pods, with the counts that they depend on."""

    near: list[Counted]
    apart: list[Counted]
    preferred: list[tuple[int, Counted]]
    group: Group

    @property
    def are_none(self) -> bool:
        return not self.near and not self.apart

    def refusal(self, labels: Labels, avoiders: list[Counted]) -> str:
        """Why a pod cannot be a neighbour of the pods near a node with these labels; empty if it can."""
        if self.near and not self._is_near(labels):
            return NO_AFFINITY
        if any(one.near(labels) for one in self.apart):
            return NO_ANTI_AFFINITY
        return EXISTING if any(one.near(labels) for one in avoiders) else ""

    def _is_near(self, labels: Labels) -> bool:
        if any(one.term.key not in labels for one in self.near):
            return False
        if all(one.near(labels) for one in self.near):
            return True
        # The first pod of a group that wants to be near itself has no neighbour yet.
        is_first = not any(one.domains.total() for one in self.near)
        return is_first and all(one.term.matches(self.group) for one in self.near)

    def score(self, labels: Labels) -> int:
        """Weights of the preferred terms, for each pod that they mean near a node with these labels."""
        return sum(weight * one.near(labels) for weight, one in self.preferred)
