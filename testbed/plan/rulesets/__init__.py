"""Rules and sets of a namespace as objects: iptables, ip6tables, nftables, ipset and IPVS.

parts        what one owner has in one backend (`Ruleset`): chains with rules, and sets
owners       who has such parts, and in which order they stand in a chain of several
merge        all owners' parts in one: the `Whole` of a backend
iptables, ipset, nftables, ipvs
             a whole as text; the smallest change from one whole to another; what a tool listed, as a whole
claims       whose the rules are that are there
transactions the order of them all

Most spaces have no rules, so this loads the parts alone.
"""

from testbed.plan.rulesets.parts import BACKENDS, BUILT_IN, Backend, Chain, Hook, Ruleset, Set

__all__ = ["BACKENDS", "BUILT_IN", "Backend", "Chain", "Hook", "Ruleset", "Set"]
