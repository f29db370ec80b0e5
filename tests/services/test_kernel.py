"""The kernel holds the rules of each proxy exactly as they are planned."""

import pytest

from testbed.kernel.namespace import Namespace
from testbed.kernel.rulesets import change, listed, load, to_list
from testbed.plan.rulesets import Ruleset
from testbed.plan.rulesets.transactions import TOOLS, wholes
from testbed.services.planned import PROXIES
from tests.services.examples import LOCAL_PORTS, NODES, PORTS, at, in_ipv6, port

pytestmark = pytest.mark.sealed


def rulesets(proxy: str, family: int, changed: bool = False) -> tuple[Ruleset, ...]:
    ports = (*PORTS, *LOCAL_PORTS)
    if changed:
        ports = (port(1, at(1), at(7)), *ports[2:6], port(7, at(9, "node2"), internal_local=True), *ports[7:])
    ports = ports if family == 4 else tuple(map(in_ipv6, ports))
    return PROXIES[proxy].served(ports, NODES[family]).rulesets


def held(wanted: tuple[Ruleset, ...]) -> list[str]:
    """The rules in the kernel, without their owners."""
    there = listed(to_list(wanted))
    return sorted(line for backend, whole in there.items() for line, _ in TOOLS[backend].lines(whole))


def planned(wanted: tuple[Ruleset, ...]) -> list[str]:
    return sorted(line for backend, whole in wholes(wanted).items() for line, _ in TOOLS[backend].lines(whole))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("proxy", ["iptables", "nftables"])
def test_listed_rules_equal_the_planned_ones(proxy: str, family: int) -> None:
    before, after = rulesets(proxy, family), rulesets(proxy, family, changed=True)
    with Namespace.create().entered():
        load(before)
        assert held(before) == planned(before)
        change(before, after)
        assert held(after) == planned(after)
        change(after, before)
        assert held(before) == planned(before)
