"""Topology spread constraints: how far the domain with the most pods may be ahead of the one with the fewest."""

from collections import Counter

from testbed.kubernetes.models.scheduling import TopologySpread
from testbed.kubernetes.scheduling.fixed import matches, refusal
from testbed.kubernetes.scheduling.neighbours import Group, Neighbours, Term
from testbed.kubernetes.state import Pod, Resource

TOO_UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{TOO_UNEVEN} (missing required label)"


class Constraint:
    """A constraint of a group of equal pods, over the nodes of a cluster."""

    def __init__(
        self, pod: Pod, group: Group, constraint: TopologySpread, nodes: list[Resource], neighbours: Neighbours
    ) -> None:
        self.written = constraint
        self.key = constraint.topology_key
        self.is_hard = constraint.when_unsatisfiable == "DoNotSchedule"
        keys = tuple((key, pod.labels[key], True) for key in constraint.match_label_keys if key in pod.labels)
        term = Term(
            self.key, str(constraint.label_selector), frozenset((pod.namespace,)), constraint.label_selector, keys
        )
        self.counts: Counter[str] = neighbours.count(term).domains
        self.fewest = 0
        self.counts_itself = term.matches(group)
        self.domains = frozenset(
            node.labels[self.key] for node in nodes if self.key in node.labels and _counts(pod, constraint, node)
        )

    def count(self) -> None:
        """Count the domain with the fewest pods, before a pod is placed."""
        self.fewest = min((self.counts[one] for one in self.domains), default=0)
        if self.written.min_domains is not None and len(self.domains) < self.written.min_domains:
            self.fewest = 0

    def refusal(self, domain: str | None) -> str:
        """Why a pod cannot be in a domain; empty if it can."""
        if domain is None:
            return NO_LABEL
        return "" if self.skew(domain) <= self.written.max_skew else TOO_UNEVEN

    def skew(self, domain: str) -> int:
        """How far a domain would be ahead of the one with the fewest pods."""
        return self.counts[domain] + self.counts_itself - self.fewest


def _counts(pod: Pod, constraint: TopologySpread, node: Resource) -> bool:
    """Whether a node's domain counts for a pod (nodeAffinityPolicy, nodeTaintsPolicy)."""
    if constraint.node_affinity_policy == "Honor" and not matches(pod.spec, node):
        return False
    return constraint.node_taints_policy == "Ignore" or not refusal(pod.spec, node)
