"""Who puts rules on a node, and in which order they stand in a chain that several of them use.

Programs of a cluster that share a chain, such as FORWARD of iptables, insert their rules at its head or append them at
its end. Whoever starts later stands further outside, on both sides:

    head    user, cni, policies, felix, ..., kube-proxy      rules that are inserted: in the order of `OWNERS`
    end     kube-proxy, ..., felix, policies, cni, user      rules that are appended: in the reverse order

So a packet meets policies before Services, a node's own rules before whatever may accept it, and what a user appends
by hand last.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    """A program, or a person, that has rules on a node."""

    name: str
    title: str
    """What a reader calls it."""


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
"""By name, from the outermost one to the innermost one."""
_RANKS = {name: rank for rank, name in enumerate(OWNERS)}


def rank(owner: str) -> int:
    """How far inside an owner stands; 0 is outermost. Raises ValueError if nobody is called so."""
    try:
        return _RANKS[owner]
    except KeyError:
        raise ValueError(f"no owner of rules is called {owner!r}; known: {', '.join(OWNERS)}") from None
