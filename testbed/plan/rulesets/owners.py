"""Owners of rules on a node, and the order of their rules in a shared chain.

Programs of a cluster that share a chain, such as FORWARD of iptables, insert their rules at its head or append them at
its end. The rules of a program that starts later are further outside, on both sides:

    head    user, cni, policies, felix, ..., kube-proxy      inserted rules, in the order of `OWNERS`
    end     kube-proxy, ..., felix, policies, cni, user      appended rules, in the reverse order

So a packet traverses policies before Services, node rules before rules that may accept it, and rules that a user
appends last.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    """A program or person with rules on a node."""

    name: str
    title: str
    """The name in messages."""


OWNERS = {
    owner.name: owner
    for owner in (
        Owner("user", "the user"),
        Owner("cni", "CNI plugins"),
        Owner("node-rules", "node_rules"),
        Owner("policies", "the policy engine"),
        Owner("felix", "Felix (Calico)"),
        Owner("weave", "weaver (Weave Net)"),
        Owner("weave-npc", "weave-npc (Weave Net)"),
        Owner("kube-router", "kube-router"),
        Owner("cilium", "Cilium's agent"),
        Owner("flannel", "flanneld"),
        Owner("edge", "the load balancer"),
        Owner("dns", "the DNS cache"),
        Owner("kube-proxy", "kube-proxy"),
    )
}
"""By name, from the outermost to the innermost."""
_RANKS = {name: rank for rank, name in enumerate(OWNERS)}


def rank(owner: str) -> int:
    """Position of an owner in `OWNERS`; 0 is the outermost. Raises ValueError if the owner is unknown."""
    try:
        return _RANKS[owner]
    except KeyError:
        raise ValueError(f"unknown owner of rules {owner!r}; known: {', '.join(OWNERS)}") from None
