"""Non-matching iptables rules on each node, which every forwarded packet traverses.

A cluster's nodes have thousands of rules, mostly for Services; their cost depends on their number, not on their
content. Each rule here matches a different source address from the benchmarking ranges (RFC 2544, RFC 5180), which
are not in use.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.rulesets import Chain, iptables
from testbed.spec.topology import Topology

_FIRST = {4: ip_address("198.18.0.1"), 6: ip_address("2001:2::1")}


def tools(topology: Topology) -> tuple[str, ...]:
    """The programs that install the rules; empty without rules."""
    families = {cidr.version for cidr in topology.cluster.pod_cidr}
    wanted = families if topology.cluster.node_rules else set()
    return tuple(iptables.tool(family) for family in sorted(wanted))


def add_node_rules(draft: Draft, layout: Layout) -> None:
    """Adds `cluster.node_rules` rules to each node, for each family of pods' addresses."""
    number = layout.topology.cluster.node_rules
    for cidr in layout.pod_cidrs if number else ():
        chain = Chain("filter", "FORWARD", tuple(_rules(cidr.version, number)))
        for node in layout.nodes:
            draft[node.name].ruleset("node-rules", iptables.tool(cidr.version), (chain,))


def _rules(family: int, number: int) -> Iterator[str]:
    first = _FIRST[family]
    for each in range(number):
        yield f"-s {first + each}/{first.max_prefixlen} -j DROP"
