"""Rules and sets of a namespace: iptables, ip6tables, nftables, ipset and IPVS.

parts        chains and sets of one owner in one backend (`Ruleset`)
owners       the owners, and the order of their rules in a shared chain
merge        the parts of all owners combined: the `Whole` of a backend
iptables, ipset, nftables, ipvs
             write a whole as text; find the smallest change between two wholes; parse a listing into a whole
claims       the owners of existing rules
transactions the texts to load, in order

Most spaces have no rules, so this package imports only `parts`.
"""

from testbed.plan.rulesets.parts import BACKENDS, BUILT_IN, Backend, Chain, Hook, Ruleset, Set

__all__ = ["BACKENDS", "BUILT_IN", "Backend", "Chain", "Hook", "Ruleset", "Set"]
