"""Rules and sets of a namespace as objects: iptables, ip6tables, nftables, ipset and IPVS.

parts        what one owner has in one backend (`Ruleset`): chains with rules, and sets
owners       who has such parts, and in which order they stand in a chain of several
merge        all owners' parts in one: the `Whole` of a backend
iptables, ipset, nftables, ipvs
             a whole as text; the smallest change from one whole to another; what a tool listed, as a whole
claims       whose the rules are that are there
transactions the order of them all
"""

from testbed.plan.rulesets.claims import claimed
from testbed.plan.rulesets.merge import Whole, WholeChain, WholeSet, merged
from testbed.plan.rulesets.owners import OWNERS, Owner
from testbed.plan.rulesets.parts import BACKENDS, BUILT_IN, Backend, Chain, Hook, Ruleset, Set
from testbed.plan.rulesets.transactions import TOOLS, Transaction, changing, loading, wholes

__all__ = [
    "BACKENDS",
    "BUILT_IN",
    "OWNERS",
    "TOOLS",
    "Backend",
    "Chain",
    "Hook",
    "Owner",
    "Ruleset",
    "Set",
    "Transaction",
    "Whole",
    "WholeChain",
    "WholeSet",
    "changing",
    "claimed",
    "loading",
    "merged",
    "wholes",
]
