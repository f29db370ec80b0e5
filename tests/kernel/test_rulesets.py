"""Rulesets in the kernel: a change gives the same result as a fresh load, and foreign rules stay."""

import re
import subprocess
from dataclasses import replace

import pytest

from testbed.kernel.namespace import Namespace
from testbed.kernel.rulesets import RulesetRefused, change, listed, load, to_list
from testbed.plan.rulesets import Backend, Chain, Hook, Ruleset, Set, nftables
from testbed.plan.rulesets.transactions import TOOLS, wholes

pytestmark = [pytest.mark.sealed, pytest.mark.needs("ipset", "masquerade", "nftables")]

KIND = "family inet hashsize 1024 maxelem"
SETS_A = (
    Set("stays", f"hash:net {KIND} 65536", ("10.0.0.0/8", "10.1.0.0/16 nomatch", "192.0.2.1")),
    Set("grows", f"hash:ip {KIND} 1024 comment", ('10.0.0.1 comment "one"', '10.0.0.2 comment "two"')),
    Set("goes", f"hash:ip {KIND} 65536", ("10.0.0.1",)),
    Set("both", "list:set size 8", ("stays", "goes")),
)
SETS_B = (
    Set("stays", f"hash:net {KIND} 65536", ("10.0.0.0/8", "10.1.0.0/16")),
    Set("grows", f"hash:ip {KIND} 65536 comment", ('10.0.0.1 comment "eins"', '10.0.0.3 comment "drei"')),
    Set("comes", f"hash:ip {KIND} 65536 timeout 0", ("10.0.0.1 timeout 0",)),
)
IPTABLES_A = (
    Chain("filter", "FORWARD", ("-j ONE", "-j TWO")),
    Chain("filter", "INPUT", policy="DROP"),
    Chain(
        "filter", "ONE", ("-s 10.0.0.1/32 -j ACCEPT", "-m set --match-set goes src -j DROP", "-s 10.0.0.9/32 -j TWO")
    ),
    Chain("filter", "TWO", ("-m set --match-set both src -j RETURN",)),
    Chain("nat", "POSTROUTING", last=("-s 10.0.0.0/8 -j MASQUERADE",)),
)
IPTABLES_B = (
    Chain("filter", "FORWARD", ("-j ONE",), ("-m set --match-set comes src -j ACCEPT",)),
    Chain("filter", "ONE", ("-s 10.0.0.1/32 -j ACCEPT", "-s 10.0.0.2/32 -j ACCEPT", "-j NEW")),
    Chain("filter", "NEW", ("-m set --match-set grows src -j DROP",)),
    Chain("mangle", "OUTPUT", ("-j MARK --set-xmark 0x1/0x1",)),
)
SERVICE = ["ipv4_addr", "inet_proto", "inet_service"]
PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
INPUT = Hook("filter", "input", -5)


def match(left: object, right: object) -> object:
    return {"match": {"op": "==", "left": left, "right": right}}


TCP = match({"meta": {"key": "l4proto"}}, "tcp")


def address(number: int) -> object:
    return {"concat": [f"10.96.0.{number}", "tcp", 80]}


NFTABLES_A = Ruleset(
    "kube-proxy",
    "nftables",
    (
        Chain(
            "ip services",
            "nat",
            (
                nftables.rule(
                    {"vmap": {"key": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}},
                                                 {"meta": {"key": "l4proto"}}, PORT]}, "data": "@services"}}
                ),
            ),
            hook=Hook("nat", "prerouting", -100),
        ),
        Chain("ip services", "one", (nftables.rule(TCP, {"dnat": {"addr": "10.0.0.1", "port": 8080}}),)),
        Chain("ip services", "two", (nftables.rule({"jump": {"target": "one"}}),)),
        Chain("inet filter", "in", (nftables.rule(match(PORT, 80), {"counter": None}, {"drop": None}, comment="web"),),
              hook=INPUT, policy="drop"),
    ),
    (
        nftables.set_of(
            "services", "ip services", SERVICE,
            [[address(1), {"goto": {"target": "one"}}], [address(2), {"goto": {"target": "two"}}]], to="verdict",
        ),
        nftables.set_of("affinity", "ip services", "ipv4_addr", flags=["timeout"], timeout_s=10800),
        nftables.set_of(
            "outside", "ip services", "ipv4_addr", [{"prefix": {"addr": "10.0.0.0", "len": 8}}], flags=["interval"]
        ),
    ),
)  # fmt: skip
NFTABLES_B = replace(
    NFTABLES_A,
    chains=(
        *NFTABLES_A.chains[:1],
        Chain("ip services", "one", (nftables.rule(TCP, {"dnat": {"addr": "10.0.0.2", "port": 8080}}),)),
        Chain("ip services", "three", (nftables.rule({"drop": None}),)),
    ),
    sets=(
        nftables.set_of(
            "services", "ip services", SERVICE,
            [[address(1), {"goto": {"target": "three"}}], [address(3), {"goto": {"target": "one"}}]], to="verdict",
        ),
    ),
)  # fmt: skip
NODE_RULES = Ruleset("node-rules", "iptables", (Chain("filter", "FORWARD", ("-s 198.18.0.1/32 -j DROP",)),))
A = (Ruleset("felix", "ipset", sets=SETS_A), Ruleset("felix", "iptables", IPTABLES_A), NFTABLES_A, NODE_RULES)
B = (Ruleset("felix", "ipset", sets=SETS_B), Ruleset("felix", "iptables", IPTABLES_B), NFTABLES_B, NODE_RULES)
EVERYWHERE = to_list(A)


def run(*command: str, said: str = "") -> str:
    done = subprocess.run(command, input=said, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def there() -> dict[Backend, list[str]]:
    return {backend: [line for line, _ in TOOLS[backend].lines(whole)] for backend, whole in listed(EVERYWHERE).items()}


def planned(parts: tuple[Ruleset, ...]) -> dict[Backend, list[str]]:
    return {backend: [line for line, _ in TOOLS[backend].lines(whole)] for backend, whole in wholes(parts).items()}


def everything() -> str:
    """The output of all tools, without numbers that the kernel chooses."""
    said = run("ipset", "save") + run("iptables-save") + run("nft", "-j", "list", "ruleset")
    return re.sub(r" initval \w+|\"handle\": \d+|^#.*$", "", said, flags=re.MULTILINE)


@pytest.mark.parametrize("parts", [A, B], ids="AB")
def test_loaded_rules_are_read_back_as_planned(parts: tuple[Ruleset, ...]) -> None:
    with Namespace.create().entered():
        load(parts)
        assert there() == planned(parts)
        before = everything()
        load(parts)
        assert everything() == before


@pytest.mark.parametrize(("one", "other"), [(A, B), (B, A), ((), A), (A, ())], ids=["AB", "BA", "-A", "A-"])
def test_a_change_gives_the_same_rules_as_a_fresh_load(one: tuple[Ruleset, ...], other: tuple[Ruleset, ...]) -> None:
    with Namespace.create().entered():
        load(other)
        fresh = there()
    with Namespace.create().entered():
        load(one)
        change(one, other)
        assert there() == fresh
        change(other, other)
        assert there() == fresh
        change(other, one)
        change(one, other)
        assert there() == fresh


FOREIGN = """table inet foreign { chain mine { type filter hook input priority 7; }; }"""


def test_foreign_tables_sets_chains_and_rules_stay() -> None:
    """Foreign rules in built-in chains shift the numbers of planned rules."""
    with Namespace.create().entered():
        load(A)
        run("nft", "-f", "-", said=FOREIGN)
        run("ipset", "create", "foreign", "hash:ip")
        run("iptables", "-N", "MINE")
        run("iptables", "-I", "FORWARD", "-j", "MINE")
        run("iptables", "-I", "FORWARD", "3", "-s", "203.0.113.1", "-j", "MINE")
        run("iptables", "-A", "FORWARD", "-s", "203.0.113.2", "-j", "MINE")
        change(A, B)
        assert '"name": "mine"' in run("nft", "-j", "list", "table", "inet", "foreign")
        assert "create foreign hash:ip" in run("ipset", "save")
        assert run("iptables", "-S", "FORWARD").splitlines()[1:] == [
            "-A FORWARD -j MINE",
            "-A FORWARD -s 198.18.0.1/32 -j DROP",
            "-A FORWARD -s 203.0.113.1/32 -j MINE",
            "-A FORWARD -j ONE",
            "-A FORWARD -s 203.0.113.2/32 -j MINE",
            "-A FORWARD -m set --match-set comes src -j ACCEPT",
        ]


def test_unchanged_rules_keep_their_counters() -> None:
    with Namespace.create().entered():
        load(A)
        counted = run("iptables-save", "-c", "-t", "filter").replace(
            "[0:0] -A FORWARD -s 198.18.0.1/32", "[7:77] -A FORWARD -s 198.18.0.1/32"
        )
        run("iptables-restore", "--counters", said=counted)
        change(A, B)
        assert "[7:77] -A FORWARD -s 198.18.0.1/32 -j DROP" in run("iptables-save", "-c")


def with_refused(backend: Backend) -> tuple[tuple[Ruleset, ...], str]:
    """B with something that the kernel refuses, and the line that the error names."""
    match backend:
        case "ipset":
            wrong = Ruleset("user", "ipset", sets=(Set("wrong", "hash:ip family inet", ("1.1.1.1", "nonsense")),))
            return (*B, wrong), "add wrong nonsense"
        case "iptables":
            # The tables before it are already changed.
            wrong = Ruleset("user", "iptables", (Chain("filter", "OUTPUT", ("-j DROP", "-p tcp --dport x -j DROP")),))
            return (*B, wrong), "-A OUTPUT -p tcp --dport x -j DROP"
        case _:
            rules = (nftables.rule({"drop": None}), nftables.rule({"jump": {"target": "nowhere"}}))
            wrong = Ruleset("user", "nftables", (Chain("ip services", "wrong", rules),))
            return (*B, wrong), '"nowhere"'


@pytest.mark.parametrize("backend", ["ipset", "iptables", "nftables"])
def test_a_refused_change_changes_nothing_and_names_the_line(backend: Backend) -> None:
    with Namespace.create().entered():
        load(A)
        before = there()
        wrong, line = with_refused(backend)
        with pytest.raises(RulesetRefused) as raised:
            change(A, wrong)
        assert line in raised.value.line
        assert (raised.value.backend, bool(raised.value.message)) == (backend, True)
        assert there() == before
        assert "wrong" not in run("ipset", "save") + run("nft", "list", "ruleset")
        change(A, B)
        assert there() == planned(B)


def test_one_of_many_rules_is_deleted() -> None:
    rules = tuple(f"-s 10.{n >> 8}.{n & 255}.1/32 -j DROP" for n in range(10_000))
    old, new = (
        (Ruleset("node-rules", "iptables", (Chain("filter", "FORWARD", own),)),)
        for own in (rules, (*rules[:400], *rules[401:]))
    )
    with Namespace.create().entered():
        load(old)
        change(old, new)
        assert listed({"iptables": ()})["iptables"].chains["filter", "FORWARD"].rules == new[0].chains[0].rules
