"""Rules of iptables and ip6tables, as iptables-save(8) writes them and iptables-restore(8) reads them.

*filter
:KUBE-FORWARD - [0:0]                     a user-defined chain; with --noflush an existing one is flushed
-I FORWARD -j KUBE-FORWARD                 at the head of a chain
-A FORWARD -i weave -j ACCEPT              at its end
COMMIT                                     each table is one transaction
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from testbed.plan.rulesets.edits import edits
from testbed.plan.rulesets.merge import Key, Whole, WholeChain
from testbed.plan.rulesets.parts import BUILT_IN, Backend, Chain

FAMILIES: dict[Backend, str] = {"iptables": "ip", "ip6tables": "ip6"}
"""Families of nftables."""
TABLES = ("raw", "mangle", "nat", "filter", "security")
"""In the order in which packets traverse most of them."""
_COUNTERS = re.compile(r"\s*\[\d+:\d+\]$")


def is_table(name: str) -> bool:
    """Whether nftables' name of a table, such as `ip nat`, is one of iptables or ip6tables."""
    family, _, table = name.partition(" ")
    return family in FAMILIES.values() and table in TABLES


def tool(family: int) -> Literal["iptables", "ip6tables"]:
    """The backend for a family, 4 or 6."""
    return "iptables" if family == 4 else "ip6tables"


def chains(
    table: str, rules: Mapping[str, Iterable[str]], last: Mapping[str, Iterable[str]] | None = None
) -> Iterator[Chain]:
    """An owner's chains of one table, from rules at the head (`rules`) and at the end (`last`), by chain name."""
    last = last or {}
    for name in dict.fromkeys((*rules, *last)):
        yield Chain(table, name, tuple(rules.get(name, ())), tuple(last.get(name, ())))


def read(text: str) -> tuple[Chain, ...]:
    """Parse an owner's chains. In built-in chains inserted rules (`-I`) go to the head, in this order, and appended
    rules (`-A`) to the end."""
    found: dict[Key, tuple[list[str], list[str]]] = {}
    policies: dict[Key, str] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            name, policy = _COUNTERS.sub("", line[1:]).split()
            found.setdefault((table, name), ([], []))
            policies[table, name] = policy.removeprefix("-")
        elif line.startswith(("-A ", "-I ")):
            name, _, rule = line[3:].partition(" ")
            at_end = line.startswith("-A ") and name in BUILT_IN
            found.setdefault((table, name), ([], []))[at_end].append(rule)
    return tuple(
        Chain(*key, tuple(rules), tuple(last), policy=policies.get(key, "")) for key, (rules, last) in found.items()
    )


def listed(backend: Backend, text: str) -> Whole:
    """Parse the output of iptables-save."""
    chains = read(text)
    return Whole(
        backend,
        {
            (chain.table, chain.name): WholeChain(
                chain.rules or chain.last, policy="" if chain.policy == "ACCEPT" else chain.policy
            )
            for chain in chains
        },
    )


def text(whole: Whole) -> str:
    """All tables, for iptables-restore: each is flushed and filled in one transaction."""
    return "".join(f"{line}\n" for table in _tables(whole) for line in _table(table, whole.chains_of(table)))


def difference(old: Whole, new: Whole) -> str:
    """The changes for iptables-restore --noflush, chain by chain; empty if nothing differs.

    A user-defined chain is rewritten if this is shorter than single deletions and insertions. Built-in chains are
    never rewritten, since others use them too.
    """
    lines: list[str] = []
    for table in _tables(old, new):
        if changes := list(_changes(old.chains_of(table), new.chains_of(table))):
            lines += (f"*{table}", *changes, "COMMIT")
    return "".join(f"{line}\n" for line in lines)


def tables(whole: Whole) -> frozenset[str]:
    """Its tables, with names as in nftables: `ip nat`."""
    return frozenset(f"{FAMILIES[whole.backend]} {table}" for table in whole.tables)


def lines(whole: Whole) -> Iterator[tuple[str, str]]:
    """Every chain, policy and rule in the syntax of iptables, each with its owner; without built-in chains that have
    no rules and the policy ACCEPT."""
    for (table, name), chain in sorted(whole.chains.items()):
        owner = chain.owners[0] if chain.owners else ""
        if name not in BUILT_IN:
            yield f"-t {table} -N {name}", owner
        elif chain.policy not in ("", "ACCEPT"):
            yield f"-t {table} -P {name} {chain.policy}", owner
    for (table, name), chain in sorted(whole.chains.items()):
        owners = chain.owners or ("",) * len(chain.rules)
        yield from ((f"-t {table} -A {name} {rule}", owner) for rule, owner in zip(chain.rules, owners, strict=True))


def _tables(*wholes: Whole) -> list[str]:
    return sorted({table for whole in wholes for table in whole.tables}, key=TABLES.index)


def _table(name: str, chains: Mapping[str, WholeChain]) -> Iterator[str]:
    yield f"*{name}"
    yield from _declared(chains)
    for chain, whole in chains.items():
        yield from (f"-A {chain} {rule}" for rule in whole.rules)
    yield "COMMIT"


def _declared(chains: Mapping[str, WholeChain]) -> Iterator[str]:
    for name, chain in chains.items():
        if name not in BUILT_IN or chain.policy:
            yield f":{name} {chain.policy or '-'} [0:0]"


def _changes(old: Mapping[str, WholeChain], new: Mapping[str, WholeChain]) -> Iterator[str]:
    """New chains are created before rules jump to them; old chains are deleted after the last jump."""
    nothing = WholeChain()
    gone = dict.fromkeys(name for name in old if name not in new and name not in BUILT_IN)
    written: dict[str, WholeChain] = {}
    edited: list[str] = []
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name, nothing), new.get(name, nothing)
        if before is after or name in gone:
            continue
        is_own = name not in BUILT_IN
        if is_own and name not in old:
            written[name] = after
            continue
        if not is_own and (before.policy or "ACCEPT") != (after.policy or "ACCEPT"):
            yield f":{name} {after.policy or 'ACCEPT'} [0:0]"
        if before.rules == after.rules:
            continue
        found = edits(before.rules, after.rules)
        if is_own and len(found) > len(after.rules):
            written[name] = after
        else:
            edited += (f"-D {name} {place + 1}" for place in found.deleted)
            edited += _inserted(name, len(before.rules) - len(found.deleted), after.rules, found.inserted)
    yield from (f":{name} - [0:0]" for name in written)
    yield from (f"-F {name}" for name in gone)
    yield from (f"-A {name} {rule}" for name, chain in written.items() for rule in chain.rules)
    yield from edited
    yield from (f"-X {name}" for name in gone)


def _inserted(name: str, length: int, rules: tuple[str, ...], places: Iterable[int]) -> Iterator[str]:
    for length_now, place in enumerate(places, start=length):
        yield f"-A {name} {rules[place]}" if place == length_now else f"-I {name} {place + 1} {rules[place]}"
