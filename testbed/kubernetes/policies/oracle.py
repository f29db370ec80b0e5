"""Whether policies allow a connection, and why: a list of judges in a row, Admin, NetworkPolicy, Baseline.

A connection is allowed if its source may send it and its target may receive it:
- A tier is skipped for pods that none of its policies selects. Without a decision of any tier, traffic is allowed.
- In the tiers Admin and Baseline, the first rule that matches decides; Pass leaves the decision to the next tier.
- NetworkPolicies that select a pod isolate it: then their rules decide, and what none of them matches is denied.
- A pod always reaches itself. NetworkPolicies do not cut a pod off from its own node, in either direction.
- Pods with hostNetwork are hosts: policies do not select them, and only address ranges match them as peers.
Replies and the ICMP errors of a connection follow it, whatever the policies say.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from testbed.kubernetes.policies.members import Place
from testbed.kubernetes.policies.rules import Action, Direction, Policies, Policy, Rule, Tier
from testbed.spec.problems import Loc

Locate = Callable[[Policy, Loc], str]
"""The file and line of a part of a policy; empty if unknown."""


@dataclass(frozen=True)
class Decision:
    """What the policies say about one direction."""

    direction: Direction
    pod: str
    """The pod whose policies decide."""
    is_allowed: bool
    tier: Tier | None = None
    """The tier that decided; None if no policy did."""
    rules: tuple[tuple[Policy, Rule], ...] = ()
    """The rules that allow or deny the traffic; empty if it is denied because none matches."""
    passed: tuple[tuple[Policy, Rule], ...] = ()
    """The rules that left the decision to a later tier."""
    isolating: tuple[Policy, ...] = ()
    """The NetworkPolicies that isolate the pod, if they decided."""
    is_own_node: bool = False
    """Whether NetworkPolicies were skipped, as the other side is the pod's own node."""

    def why(self, locate: Locate = lambda policy, loc: "") -> Iterator[str]:
        """The reasons, a line each."""

        def at(policy: Policy, loc: Loc) -> str:
            place = locate(policy, loc)
            return f" ({place})" if place else ""

        for policy, rule in self.passed:
            yield f"{policy}: {rule} passes to the next tier{at(policy, rule.loc)}"
        for policy in self.isolating:
            yield f"{policy} isolates {self.pod} for {self.direction.value}{at(policy, ('spec', 'podSelector'))}"
        for policy, rule in self.rules:
            verb = "allows" if self.is_allowed else "denies"
            yield f"{policy}: {rule} {verb} it{at(policy, rule.loc)}"
        if self.is_own_node:
            yield f"{'NetworkPolicies' if self.tier else 'policies'} do not cut {self.pod} off from its own node"
        elif not self.is_allowed and not self.rules:
            yield f"no {self.direction.value} rule of these policies matches"
        elif self.tier is None:
            yield f"no policy decides about {self.direction.value} of {self.pod}"


@dataclass(frozen=True)
class Verdict:
    """Whether a connection is allowed, and the decisions on both sides; None for a side without policies."""

    is_allowed: bool
    egress: Decision | None = None
    ingress: Decision | None = None
    is_itself: bool = False

    def why(self, locate: Locate = lambda policy, loc: "") -> tuple[str, ...]:
        """The reasons, a line each."""
        if self.is_itself:
            return ("a pod always reaches itself",)
        sides = [one for one in (self.egress, self.ingress) if one]
        return tuple(line for one in sides for line in one.why(locate)) or ("no pod with policies takes part",)


class ToOwnNode(Enum):
    """Which policies decide about traffic of a pod to its own node. Engines differ here."""

    NONE = "no policies"
    CLUSTER = "all policies except NetworkPolicies"
    """The standard."""
    ALL = "all policies"


def allowed(
    policies: Policies,
    source: str | Place,
    target: str | Place,
    port: int,
    protocol: str = "TCP",
    family: int = 4,
    to_own_node: ToOwnNode = ToOwnNode.CLUSTER,
) -> Verdict:
    """Whether a connection is allowed, and why.

    Places are pods (NAMESPACE/NAME), nodes and addresses; the protocol is TCP, UDP, SCTP or, without ports, another
    such as ICMP; the family is 4 or 6. Raises KeyError for an unknown place.
    """
    one, other = (
        policies.members.place(place, family) if isinstance(place, str) else place for place in (source, target)
    )
    if one.pod and one.pod is other.pod:
        return Verdict(True, is_itself=True)
    egress = decide(policies, Direction.EGRESS, one, other, port, protocol, to_own_node) if one.pod else None
    ingress = decide(policies, Direction.INGRESS, other, one, port, protocol) if other.pod else None
    return Verdict(all(side.is_allowed for side in (egress, ingress) if side), egress, ingress)


def decide(
    policies: Policies,
    direction: Direction,
    subject: Place,
    peer: Place,
    port: int,
    protocol: str,
    with_own_node: ToOwnNode = ToOwnNode.CLUSTER,
) -> Decision:
    """What the policies of a pod say about its traffic with a peer."""
    assert subject.pod
    target = subject.pod if direction is Direction.INGRESS else peer.pod
    is_own_node = peer.pod is None and peer.node != "" and peer.node == subject.node
    selecting = policies.selecting(subject.pod, direction)
    if is_own_node and with_own_node is ToOwnNode.NONE:
        return Decision(direction, subject.name, True, is_own_node=True)

    def matching(tier: Tier) -> Iterator[tuple[Policy, Rule]]:
        for policy in selecting:
            for rule in (policy.rules(direction) or ()) if policy.tier is tier else ():
                if rule.peers.include(peer) and rule.covers(target, port, protocol):
                    yield policy, rule

    passed: list[tuple[Policy, Rule]] = []

    def decision(is_allowed: bool, tier: Tier | None, **more: object) -> Decision:
        return Decision(direction, subject.name, is_allowed, tier, passed=tuple(passed), **more)  # type: ignore[arg-type]

    for tier in Tier:
        if tier is Tier.NETWORK_POLICY:
            isolating = tuple(policy for policy in selecting if policy.tier is tier)
            if isolating and is_own_node and with_own_node is ToOwnNode.CLUSTER:
                return decision(True, tier, isolating=isolating, is_own_node=True)
            if isolating:
                rules = tuple(matching(tier))
                return decision(bool(rules), tier, rules=rules, isolating=isolating)
        elif first := next(matching(tier), None):
            if first[1].action is not Action.PASS:
                return decision(first[1].action is Action.ACCEPT, tier, rules=(first,))
            passed.append(first)
    return decision(True, None)
