"""kube-router's engine.

ways         what its chains let through, and where that differs from the standard
chains       the chains and sets
"""

from testbed.kubernetes.policies import ToOwnNode
from testbed.policies.engine import Engine
from testbed.policies.kube_router.chains import OWNER, enforce
from testbed.policies.kube_router.ways import as_enforced

ENGINE = Engine(
    "kube-router",
    enforce,
    "a chain for each NetworkPolicy, ipsets, and REJECT instead of silence",
    owner=OWNER,
    as_enforced=as_enforced,
    to_own_node=ToOwnNode.ALL,
    needs=("ipset", "bridge-nf"),
    programs=("iptables", "ip6tables", "ipset"),
    unlike="""
Unlike kube-router, which gives chains other names at each change, chains keep their names.
Unlike the standard, kube-router ignores ClusterNetworkPolicies, and lets policies decide about a pod's traffic to its
own node.
Unlike the standard, the rules of a policy with both directions also apply, in the other direction, between the pods
that it selects.
As with kube-router, sets change before chains. For a few milliseconds, packets meet old chains with new sets.
""",
)

__all__ = ["ENGINE"]
