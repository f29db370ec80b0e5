"""The rules of each proxy, held against golden files.

`golden/` has the rules of `examples.PORTS` and `LOCAL_PORTS`, line by line as the backend lists them; UPDATE_GOLDEN=1
rewrites them. Those of `PORTS` for IPv4 were compared with the rules that kube-proxy's own tests expect of the same
Services (iptables), and with its commands of 1.36 (nftables).
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.kubernetes.services.ports import Endpoint, ServicePort
from testbed.plan.rulesets import Ruleset
from testbed.plan.rulesets.transactions import TOOLS, wholes
from testbed.services import iptables, nftables
from testbed.services.planned import PROXIES
from tests.services.examples import LOCAL_PORTS, NODE, NODES, PORTS, at, in_ipv6, port

GOLDEN = Path(__file__).parent / "golden"
BY_FAMILY = {4: (*PORTS, *LOCAL_PORTS), 6: tuple(map(in_ipv6, (*PORTS, *LOCAL_PORTS)))}


def lines(rulesets: tuple[Ruleset, ...]) -> list[str]:
    return [line for backend, whole in wholes(rulesets).items() for line, _ in TOOLS[backend].lines(whole)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("proxy", ["iptables", "nftables"])
def test_rules(proxy: str, family: int) -> None:
    served = PROXIES[proxy].served(BY_FAMILY[family], NODES[family])
    text = "\n".join(lines(served.rulesets)) + "\n"
    golden = GOLDEN / f"{proxy}-ipv{family}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_no_proxy_has_no_rules() -> None:
    assert PROXIES["none"].served(PORTS, NODES[4]).rulesets == ()


@pytest.mark.parametrize(
    ("name", "protocol", "code"),
    [
        ("default/kubernetes:https", "tcp", "NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", "udp", "TCOU7JCQXEZGVUNU"),
    ],
)
def test_names_of_iptables(name: str, protocol: str, code: str) -> None:
    assert iptables.chain_hash(name, protocol) == code


def test_names_of_nftables() -> None:
    assert nftables.port_name(port(1)) == "ULMVA6XW-ns1/svc1/tcp/p80"
    assert nftables.endpoint_name(port(1), at(1)) == "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"


def test_long_names_of_nftables_are_cut() -> None:
    long = replace(port(1), namespace="n" * 63, service="s" * 63, name="p" * 63)
    name = nftables.endpoint_name(long, Endpoint("fd00:1111:2222:3333:4444:5555:6666:7777", 65535))
    assert (len(name), name[-3:]) == (240, "...")
    assert ":" not in name


def test_probabilities_give_each_endpoint_an_equal_share() -> None:
    (ruleset,) = iptables.served([port(1, *map(at, range(1, 6)))], NODES[4]).rulesets
    (chain,) = (one for one in ruleset.chains if one.name.startswith("KUBE-SVC-"))
    chances = [rule.split("--probability ")[1].split()[0] for rule in chain.rules if "--probability" in rule]
    assert chances == ["0.20000000019", "0.25000000000", "0.33333333349", "0.50000000000"]


def test_large_clusters_leave_out_comments_of_endpoints() -> None:
    def rules(count: int) -> str:
        endpoints = (Endpoint(f"10.180.{number // 250}.{number % 250 + 1}", 80) for number in range(count))
        return "\n".join(lines(iptables.served([port(1, *endpoints)], NODES[4]).rulesets))

    assert "ns1/svc1:p80 -> 10.180.0.1:80" in rules(1000)
    large = rules(1001)
    assert "->" not in large
    assert '"ns1/svc1:p80 cluster IP"' in large


def test_unchanged_ports_keep_their_chains() -> None:
    """A change of one port leaves the objects of all others alone, so that comparing is cheap."""
    before, after = (PROXIES["iptables"].served([*PORTS[:5], last], NODES[4]) for last in (PORTS[5], port(6, at(9))))
    old, new = ({one.name: one for one in each.rulesets[0].chains} for each in (before, after))
    same = [name for name in old if name.startswith(("KUBE-SVC-", "KUBE-SEP-")) and new[name] is old[name]]
    assert len(same) == 11


def test_the_node_decides_about_local_ports() -> None:
    local: ServicePort = LOCAL_PORTS[0]
    here, there = (
        "\n".join(lines(nftables.served([local], replace(NODES[4], name=name)).rulesets)) for name in (NODE, "node3")
    )
    assert "local-" in here
    assert "local-" not in there
    assert '{"drop":null}' in there
