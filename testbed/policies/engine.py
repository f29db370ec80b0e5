"""A policy engine, and what it knows of a node."""

from collections.abc import Callable
from dataclasses import dataclass

from testbed.kubernetes.policies import Direction, Policies, Policy, ToOwnNode
from testbed.kubernetes.policies.members import Member
from testbed.plan.objects import Kind, Plan, Space
from testbed.plan.rulesets import Ruleset


@dataclass(frozen=True)
class Local:
    """A pod of the node, with the node's end of its veth pair (empty if it has none)."""

    member: Member
    device: str


@dataclass(frozen=True)
class Node:
    """A node with its pods and the policies of the cluster."""

    name: str
    pods: tuple[Local, ...]
    families: tuple[int, ...]
    """Of the pods' addresses."""
    policies: Policies

    def selecting(self, pod: Local, direction: Direction) -> tuple[Policy, ...]:
        """The policies that decide about a pod's traffic, in order of precedence."""
        return self.policies.selecting(pod.member, direction)


def _as_written(policies: Policies, family: int) -> Policies:
    return policies


@dataclass(frozen=True)
class Engine:
    """A policy engine."""

    name: str
    enforce: Callable[[Space, Node], Space]
    """The node's space with the objects that enforce the policies."""
    summary: str
    owner: str = ""
    """The owner of the rules that a design must have already; empty if the engine fits any design."""
    as_enforced: Callable[[Policies, int], Policies] = _as_written
    """The policies that mean, by the standard, what it enforces in a family."""
    to_own_node: ToOwnNode = ToOwnNode.CLUSTER
    """Which policies it enforces between a pod and the pod's own node."""
    needs: tuple[str, ...] = ()
    """Names of kernel features."""
    programs: tuple[str, ...] = ()
    """Names of programs that load its rules."""
    unlike: str = ""
    """Where it differs from the real engine, or from the standard."""

    def fits(self, plan: Plan) -> bool:
        """Whether a design's plan has the rules that the engine extends."""
        nodes = plan.of_kind(Kind.NODE)
        return not self.owner or all(self.owner in {part.owner for part in node.of(Ruleset)} for node in nodes)
