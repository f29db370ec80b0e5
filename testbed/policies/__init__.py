"""Policy engines: what enforces network policies on the nodes of a lab.

engine       an engine, and what it knows of a node
sets         addresses of pods and ranges, as sets of all engines need them
enforcing    a plan with the objects of an engine
nftables     sets and verdict maps, for designs without an engine of their own
calico       Felix' chains, tiers and sets
kube_router  kube-router's chains and sets
weave        weave-npc's rules and sets
"""

from collections.abc import Mapping

from testbed.kubernetes.policies import Policies
from testbed.policies import calico, kube_router, nftables, weave
from testbed.policies.enforcing import with_policies
from testbed.policies.engine import Engine

NONE = Engine(
    "none",
    lambda space, node: space,
    "nobody enforces policies, as with Flannel alone",
    as_enforced=lambda policies, family: Policies(policies.members, ()),
)
ENGINES: Mapping[str, Engine] = {
    engine.name: engine for engine in (nftables.ENGINE, calico.ENGINE, kube_router.ENGINE, weave.ENGINE, NONE)
}
"""By name."""

__all__ = ["ENGINES", "Engine", "with_policies"]
