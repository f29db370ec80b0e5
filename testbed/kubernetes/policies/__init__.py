"""Network policies: the resolved sets of pods and ports, and the oracle of allowed traffic. No engine is known here.

members      pods, nodes and external addresses; sets of pods as bits of an integer
rules        policies, rules, peers and ports, resolved
resolving    from a cluster state to resolved policies
oracle       whether one connection is allowed, and why
reach        all pairs of pods at once
locating     the file and line of a policy and of a rule
"""

from testbed.kubernetes.policies.oracle import Decision, ToOwnNode, Verdict, allowed
from testbed.kubernetes.policies.reach import reach
from testbed.kubernetes.policies.resolving import resolve
from testbed.kubernetes.policies.rules import Action, Direction, Policies, Policy, Rule, Tier

__all__ = [
    "Action",
    "Decision",
    "Direction",
    "Policies",
    "Policy",
    "Rule",
    "Tier",
    "ToOwnNode",
    "Verdict",
    "allowed",
    "reach",
    "resolve",
]
