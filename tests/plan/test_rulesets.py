"""Merging the parts of owners does not depend on their order, and applying a change gives the new whole.

Small models of iptables-restore, ipset, nft and ipvsadm apply the texts here; `tests/kernel/test_rulesets.py` uses the
kernel.
"""

import json
import time
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan.rulesets import BUILT_IN, Backend, Chain, Hook, Ruleset, Set, ipset, iptables, ipvs, nftables
from testbed.plan.rulesets.claims import claimed
from testbed.plan.rulesets.edits import carried, edits
from testbed.plan.rulesets.merge import Whole, merged
from testbed.plan.rulesets.owners import OWNERS
from testbed.plan.rulesets.transactions import TOOLS, changing, wholes

RULES = st.lists(st.sampled_from([f"-s 10.0.0.{n}/32 -j DROP" for n in range(8)]), max_size=6).map(tuple)
OWNER = st.sampled_from(sorted(OWNERS))
KIND = st.sampled_from([f"hash:ip family inet hashsize 1024 maxelem {n}" for n in (1024, 65536)])
MEMBERS = st.lists(
    st.builds("10.0.0.{} {}".format, st.integers(1, 9), st.sampled_from(["", 'comment "a"', 'comment "b"'])).map(
        str.strip
    ),
    max_size=6,
    unique_by=lambda member: member.split()[0],
).map(tuple)


@st.composite
def parts_of_iptables(draw: st.DrawFn) -> tuple[Ruleset, ...]:
    found = []
    for owner in draw(st.lists(OWNER, unique=True, max_size=3)):
        keys = draw(
            st.lists(
                st.tuples(st.sampled_from(["filter", "nat"]), st.sampled_from(["INPUT", "OUTPUT", "ONE", "TWO"])),
                unique=True,
                max_size=4,
            )
        )
        chains = (
            Chain(
                *key, draw(RULES), draw(RULES), policy=draw(st.sampled_from(["", "DROP"])) if key[1] == "INPUT" else ""
            )
            for key in keys
        )
        found.append(Ruleset(owner, "iptables", tuple(chains)))
    return tuple(found)


@st.composite
def parts_of_ipset(draw: st.DrawFn) -> tuple[Ruleset, ...]:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True))
    return (Ruleset("felix", "ipset", sets=tuple(Set(name, draw(KIND), draw(MEMBERS)) for name in names)),)


@st.composite
def parts_of_nftables(draw: st.DrawFn) -> tuple[Ruleset, ...]:
    rules = st.lists(st.sampled_from([nftables.rule({"drop": None}), nftables.rule({"accept": None})])).map(tuple)
    hooks = st.sampled_from([None, Hook("filter", "input", 0), Hook("filter", "input", -5)])
    tables = draw(st.lists(st.sampled_from(["ip one", "inet two"]), unique=True))
    names = st.lists(st.sampled_from(["a", "b", "c"]), unique=True)
    chains = tuple(Chain(table, name, draw(rules), hook=draw(hooks)) for table in tables for name in draw(names))
    sets = tuple(
        nftables.set_of(name, table, draw(st.sampled_from(["ipv4_addr", "mark"])), draw(st.sets(st.integers(1, 9))))
        for table in tables
        for name in draw(names)
    )
    return (Ruleset("kube-proxy", "nftables", chains, sets),)


@st.composite
def parts_of_ipvs(draw: st.DrawFn) -> tuple[Ruleset, ...]:
    servers = st.lists(
        st.builds(
            ipvs.server, st.sampled_from([ip_address(f"10.0.0.{n}") for n in (1, 2, 3)]), st.just(80), st.integers(0, 2)
        ),
        unique_by=lambda server: server.split()[1],
    )
    ports = draw(st.lists(st.integers(1, 4), unique=True))
    sets = (
        ipvs.service("tcp", ip_address("10.96.0.1"), port, draw(servers), draw(st.sampled_from(["rr", "lc"])))
        for port in ports
    )
    return (Ruleset("kube-proxy", "ipvs", sets=tuple(sets)),)


class Restored:
    """A model of iptables-restore."""

    def __init__(self) -> None:
        self.chains: dict[tuple[str, str], list[str]] = {}
        self.policies: dict[tuple[str, str], str] = {}
        self.untouched: Counter[tuple[str, str, str]] = Counter()

    def read(self, text: str, noflush: bool) -> None:
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:]
                if not noflush:
                    for kept in (self.chains, self.policies):
                        for key in [key for key in kept if key[0] == table]:
                            del kept[key]  # type: ignore[attr-defined]
                continue
            verb, _, rest = line.partition(" ")
            name, _, words = rest.partition(" ")
            key = table, line[1:].split()[0] if line.startswith(":") else name
            rules = self.chains.get(key, [])
            match verb:
                case "-A":
                    self._there(key).append(words)
                case "-I":
                    number, _, rule = words.partition(" ")
                    assert int(number) <= len(rules) + 1
                    self._there(key).insert(int(number) - 1, rule)
                case "-D":
                    del rules[int(words) - 1]
                case "-F":
                    rules.clear()
                case "-X":
                    assert not self.chains.pop(key)
                case "COMMIT":
                    pass
                case _:
                    policy = line.split()[1]
                    if key[1] in BUILT_IN:
                        self.policies[key] = policy
                    else:
                        self.chains[key] = []

    def _there(self, key: tuple[str, str]) -> list[str]:
        return self.chains.setdefault(key, []) if key[1] in BUILT_IN else self.chains[key]

    def listed(self) -> Whole:
        lines = []
        for table in sorted({key[0] for key in (*self.chains, *self.policies)}):
            lines.append(f"*{table}")
            for kind, name in dict.fromkeys((*self.chains, *self.policies)):
                if kind == table:
                    lines.append(
                        f":{name} {self.policies.get((kind, name), 'ACCEPT' if name in BUILT_IN else '-')} [0:0]"
                    )
            lines += (f"-A {key[1]} {rule}" for key, rules in self.chains.items() if key[0] == table for rule in rules)
        return iptables.listed("iptables", "\n".join(lines))


def lines(whole: Whole) -> list[str]:
    return [line for line, _ in TOOLS[whole.backend].lines(whole)]


def agreeing(parts: tuple[Ruleset, ...]) -> bool:
    try:
        wholes(parts)
    except ValueError:
        return False
    return True


@given(parts_of_iptables(), st.randoms(use_true_random=False))
def test_the_order_of_parts_does_not_change_the_whole(parts: tuple[Ruleset, ...], chance: Any) -> None:
    shuffled = list(parts)
    chance.shuffle(shuffled)
    one, other = merged(parts, "iptables"), merged(shuffled, "iptables")
    assert iptables.text(one) == iptables.text(other)
    assert list(iptables.lines(one)) == list(iptables.lines(other))


def test_rules_of_several_owners_are_ordered_as_in_a_real_cluster() -> None:
    forward = [
        Ruleset("kube-proxy", "iptables", (Chain("filter", "FORWARD", ("-j KUBE-FORWARD",)),)),
        Ruleset("flannel", "iptables", (Chain("filter", "FORWARD", last=("-j FLANNEL-FWD",)),)),
        Ruleset("felix", "iptables", (Chain("filter", "FORWARD", ("-j cali-FORWARD",), ("-j MARK",)),)),
        Ruleset("user", "iptables", (Chain("filter", "FORWARD", last=("-j DROP",)),)),
    ]
    whole = merged(forward, "iptables")
    assert whole.chains["filter", "FORWARD"].rules == (
        *("-j cali-FORWARD", "-j KUBE-FORWARD", "-j FLANNEL-FWD", "-j MARK", "-j DROP"),
    )
    assert [owner for _, owner in iptables.lines(whole)] == ["felix", "kube-proxy", "flannel", "felix", "user"]


def test_conflicting_parts_are_refused() -> None:
    twice = [Ruleset("felix", "iptables", (Chain("nat", "INPUT"),))] * 2
    with pytest.raises(ValueError, match="iptables: nat INPUT: felix defines this chain twice"):
        merged(twice, "iptables")
    sets = [Ruleset(owner, "ipset", sets=(Set("pods", "hash:ip"),)) for owner in ("felix", "user")]
    with pytest.raises(ValueError, match="ipset: user and felix both define the set pods"):
        merged(sets, "ipset")
    policies = [
        Ruleset(owner, "iptables", (Chain("filter", "INPUT", policy=policy),))
        for owner, policy in (("felix", "DROP"), ("user", "ACCEPT"))
    ]
    with pytest.raises(ValueError, match="user and felix have different hooks or policies"):
        merged(policies, "iptables")
    with pytest.raises(ValueError, match="unknown owner of rules 'nobody'; known: user, cni"):
        merged([Ruleset("nobody", "ipset")], "ipset")


@given(parts_of_iptables().filter(agreeing), parts_of_iptables().filter(agreeing))
def test_a_change_of_iptables_gives_the_new_rules(a: tuple[Ruleset, ...], b: tuple[Ruleset, ...]) -> None:
    old, new = merged(a, "iptables"), merged(b, "iptables")
    model = Restored()
    for _ in range(2):
        model.read(iptables.text(old), noflush=False)
        assert lines(model.listed()) == lines(old)
    model.read(iptables.difference(old, new), noflush=True)
    assert lines(model.listed()) == lines(new)
    assert iptables.difference(new, new) == ""


@given(parts_of_ipset(), parts_of_ipset())
def test_a_change_of_sets_gives_the_new_sets(a: tuple[Ruleset, ...], b: tuple[Ruleset, ...]) -> None:
    old, new = wholes(a), wholes(b)
    sets: dict[str, tuple[str, dict[str, str]]] = {}

    def apply(text: str) -> None:
        for line in text.splitlines():
            verb, name, rest = (*line.split(" ", 2), "")[:3]
            match verb:
                case "create":
                    sets.setdefault(name, (rest, {}))
                    assert sets[name][0] == rest
                case "add":
                    sets[name][1][rest.split()[0]] = rest
                case "del":
                    sets[name][1].pop(rest, None)
                case "swap":
                    sets[name], sets[rest] = sets[rest], sets[name]
                case "destroy":
                    del sets[name]

    def there() -> list[str]:
        saved = [f"create {name} {kind}" for name, (kind, _) in sets.items()]
        saved += [f"add {name} {member}" for name, (_, members) in sets.items() for member in members.values()]
        return lines(ipset.listed("\n".join(saved)))

    for _ in range(2):
        apply(ipset.text(old["ipset"]))
        assert there() == lines(old["ipset"])
    for step in changing(old, new):
        apply(step.text)
    assert there() == lines(new["ipset"])
    assert changing(new, new) == ()


@given(parts_of_nftables(), parts_of_nftables())
def test_a_change_of_nftables_gives_the_new_tables(a: tuple[Ruleset, ...], b: tuple[Ruleset, ...]) -> None:
    old, new = merged(a, "nftables"), merged(b, "nftables")
    tables: dict[tuple[str, str], dict[str, dict[str, Any]]] = {("ip", "foreign"): {}}

    def apply(text: str) -> None:
        for item in json.loads(text)["nftables"] if text else ():
            ((verb, about),) = item.items()
            ((what, tree),) = about.items()
            key = tree["family"], tree["name" if what == "table" else "table"]
            if what == "table":
                tables.setdefault(key, {}) if verb == "add" else tables.pop(key)
                continue
            named = tables[key]
            name = tree["chain"] if what == "rule" else tree["name"]
            of = "chain" if what == "rule" else "set" if what == "element" else what
            if what == "rule":
                named[f"{of} {name}"]["rules"].append(tree["expr"])
            elif what == "element":
                there = named[f"{of} {name}"]["elem"]
                there.extend(tree["elem"]) if verb == "add" else [there.remove(each) for each in tree["elem"]]
            elif verb == "flush":
                named[f"{of} {name}"]["rules"].clear()
            elif verb == "delete":
                assert not named.pop(f"{of} {name}").get("rules")
            elif f"{of} {name}" not in named:
                named[f"{of} {name}"] = tree | ({"rules": []} if what == "chain" else {"elem": []})

    def there() -> list[str]:
        listed = []
        for (family, table), named in tables.items():
            at = {"family": family, "table": table}
            for place, tree in named.items():
                what = place.split()[0]
                listed.append({what: {key: value for key, value in tree.items() if key != "rules"}})
                listed += ({"rule": at | {"chain": tree["name"], "expr": expr}} for expr in tree.get("rules", ()))
        return lines(nftables.listed(json.dumps({"nftables": listed})))

    for _ in range(2):
        apply(nftables.text(old))
        assert there() == lines(old)
    apply(nftables.difference(old, new))
    assert there() == lines(new)
    assert ("ip", "foreign") in tables
    assert nftables.difference(new, new) == ""


@given(parts_of_ipvs(), parts_of_ipvs())
def test_a_change_of_virtual_services_gives_the_new_services(a: tuple[Ruleset, ...], b: tuple[Ruleset, ...]) -> None:
    old, new = merged(a, "ipvs"), merged(b, "ipvs")
    services: dict[str, tuple[str, dict[str, str]]] = {}

    def apply(text: str) -> None:
        for line in text.splitlines():
            verb, _, rest = line.partition(" ")
            name, words = " ".join(rest.split()[:2]), " ".join(rest.split()[2:])
            match verb:
                case "-C":
                    services.clear()
                case "-A":
                    assert name not in services
                    services[name] = (words, {})
                case "-E":
                    services[name] = (words, services[name][1])
                case "-D":
                    del services[name]
                case "-d":
                    del services[name][1][words.split()[1]]
                case _:
                    assert (words.split()[1] in services[name][1]) is (verb == "-e")
                    services[name][1][words.split()[1]] = words

    def there() -> list[str]:
        saved = [f"-A {name} {kind}" for name, (kind, _) in services.items()]
        saved += [f"-a {name} {server}" for name, (_, servers) in services.items() for server in servers.values()]
        return lines(ipvs.listed("\n".join(saved)))

    for _ in range(2):
        apply(ipvs.text(old))
        assert there() == lines(old)
    apply(ipvs.difference(old, new))
    assert there() == lines(new)


def test_virtual_services_have_the_format_of_ipvsadm_save() -> None:
    servers = [ipvs.server(ip_address("10.244.0.2"), 8080), ipvs.server(ip_address("fd00::2"), 8080, 0)]
    services = (ipvs.service("udp", ip_address("10.96.0.10"), 53, servers, affinity_s=10800),)
    assert ipvs.text(merged([Ruleset("kube-proxy", "ipvs", sets=services)], "ipvs")).splitlines() == [
        "-C",
        "-A -u 10.96.0.10:53 -s rr -p 10800",
        "-a -u 10.96.0.10:53 -r 10.244.0.2:8080 -m -w 1",
        "-a -u 10.96.0.10:53 -r [fd00::2]:8080 -m -w 0",
    ]


def test_a_change_contains_only_differences() -> None:
    sets = [f"10.{n >> 8}.{n & 255}.1" for n in range(10_000)]

    def parts(rules: list[str], members: list[str], own: str) -> list[Ruleset]:
        return [
            Ruleset("kube-proxy", "iptables", (Chain("nat", "KUBE-SERVICES", tuple(rules)),)),
            Ruleset("kube-proxy", "ipset", sets=(Set("pods", "hash:ip family inet", tuple(members)),)),
            Ruleset("felix", "iptables", (Chain("filter", "FORWARD", (own,)),)),
            Ruleset("node-rules", "iptables", (Chain("filter", "FORWARD", ("-j ONE", "-j TWO")),)),
        ]

    rules = [f"-d {address}/32 -j ACCEPT" for address in sets]
    steps = changing(
        wholes(parts(rules, sets, "-j A")),
        wholes(parts([*rules[:500], *rules[501:], "-j Z"], ["1.1.1.1", *sets[1:]], "-j B")),
    )
    assert [step.text for step in steps] == [
        "del pods 10.0.0.1\nadd pods 1.1.1.1\n",
        "*nat\n-D KUBE-SERVICES 501\n-A KUBE-SERVICES -j Z\nCOMMIT\n",
        "*filter\n-D FORWARD 3\n-A FORWARD -j B\nCOMMIT\n",
    ]


def test_sets_are_removed_after_the_rules_that_refer_to_them() -> None:
    parts = (
        Ruleset("felix", "ipset", sets=(Set("pods", "hash:ip family inet"), Set("all", "list:set size 8", ("pods",)))),
        Ruleset("felix", "iptables", (Chain("filter", "INPUT", ("-m set --match-set all src -j DROP",)),)),
    )
    texts = [step.text for step in changing({}, wholes(parts))]
    assert texts[0].splitlines() == ["create pods hash:ip family inet", "create all list:set size 8", "add all pods"]
    assert texts[1].startswith("*filter\n-A INPUT")
    texts = [step.text for step in changing(wholes(parts), {})]
    assert texts == ["*filter\n-D INPUT 1\nCOMMIT\n", "destroy all\ndestroy pods\n"]


def test_changing_the_type_of_a_set_is_refused() -> None:
    one, other = (
        wholes([Ruleset("felix", "ipset", sets=(Set("pods", f"{kind} family inet"),))])
        for kind in ("hash:ip", "hash:net")
    )
    with pytest.raises(ipset.SetChangesType, match="set pods: cannot change the type from hash:ip to hash:net"):
        changing(one, other)


LETTERS = st.lists(st.sampled_from("abcdefgh"), max_size=12)


@given(LETTERS, LETTERS)
def test_edits_turn_the_old_list_into_the_new(old: list[str], new: list[str]) -> None:
    found, now = edits(old, new), list(old)
    for place in found.deleted:
        del now[place]
    for place in found.inserted:
        now.insert(place, new[place])
    assert now == new


@given(st.permutations(range(8)), st.integers(0, 7))
def test_moving_a_line_is_one_deletion_and_one_insertion(order: list[int], place: int) -> None:
    old = [str(number) for number in order]
    new = [*old]
    new.insert(place, new.pop())
    assert len(edits(old, new)) <= 2


@given(LETTERS, LETTERS, st.lists(st.tuples(st.integers(0, 12), st.sampled_from("XYZ"))))
def test_foreign_lines_stay_and_ours_change(old: list[str], new: list[str], others: list[tuple[int, str]]) -> None:
    there = list(old)
    for place, line in others:
        there.insert(place, line)
    now = carried(there, old, new)
    assert [line for line in now if line not in "XYZ"] == new
    assert [line for line in now if line in "XYZ"] == [line for line in there if line in "XYZ"]


def test_foreign_lines_stay_after_the_preceding_line() -> None:
    assert carried(["X", "a", "Y", "b", "Z"], ["a", "b"], ["c", "a", "d"]) == ("X", "c", "a", "Y", "Z", "d")


@given(parts_of_iptables().filter(agreeing), st.dictionaries(st.sampled_from(["INPUT", "ONE", "NEW"]), RULES))
def test_every_existing_rule_has_an_owner(parts: tuple[Ruleset, ...], added: dict[str, tuple[str, ...]]) -> None:
    planned = tuple(part for part in parts if part.owner != "cni")
    whole = merged(planned, "iptables")
    text = iptables.text(whole)
    for name, rules in added.items():
        chains = "" if ("filter", name) in whole.chains or name in BUILT_IN else f":{name} - [0:0]\n"
        text += f"*filter\n{chains}" + "".join(f"-A {name} {rule}\n" for rule in rules)
    there = iptables.listed("iptables", text)
    now = tuple(claimed(planned, there, "cni"))
    assert lines(merged(now, "iptables")) == lines(there)
    if not added:
        assert {part.owner for part in now} <= {part.owner for part in planned}


def test_plugins_own_the_rules_that_they_add_around_others() -> None:
    planned = (Ruleset("node-rules", "iptables", (Chain("filter", "FORWARD", ("-j A", "-j B")),)),)
    text = "*filter\n:CNI - [0:0]\n-A FORWARD -j CNI\n-A FORWARD -j A\n-A FORWARD -j B\n-A FORWARD -j C\n"
    assert tuple(claimed(planned, iptables.listed("iptables", text), "cni")) == (
        *planned,
        Ruleset("cni", "iptables", (Chain("filter", "CNI"), Chain("filter", "FORWARD", ("-j CNI",), ("-j C",)))),
    )


def test_large_rulesets_take_linear_time() -> None:
    """10,000 rules and members are merged, written and compared in at most two seconds."""
    addresses = [f"10.{n >> 8}.{n & 255}.1" for n in range(10_000)]
    rules = tuple(f"-s {address}/32 -j DROP" for address in addresses)
    trees = tuple(nftables.rule({"drop": None}, comment=address) for address in addresses)
    parts = (
        Ruleset("user", "ipset", sets=(Set("all", "hash:ip family inet", tuple(addresses)),)),
        Ruleset("user", "iptables", (Chain("filter", "BIG", rules), Chain("filter", "BACK", rules[::-1]))),
        Ruleset("user", "nftables", (Chain("ip big", "big", trees),)),
    )
    other = (
        parts[0],
        Ruleset("user", "iptables", (Chain("filter", "BIG", rules[::-1]), Chain("filter", "BACK", rules))),
        parts[2],
    )
    began = time.process_time()
    backends: list[Backend] = [step.backend for step in changing(wholes(parts), wholes(other))]
    assert backends == ["iptables"]
    assert time.process_time() - began < 2
