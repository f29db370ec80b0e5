"""Rules of iptables and nftables in a namespace that drop or translate packets, with their counters.

A rule of iptables always counts packets; one of nftables only with a `counter` statement. The first packet of a
connection alone traverses the rules of NAT.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from testbed.kernel.state import nft_tables
from testbed.kernel.tools import ToolFailed, run
from testbed.plan.objects import NftTable, Space
from testbed.plan.rulesets import Backend, Ruleset, iptables
from testbed.plan.rulesets.transactions import TOOLS, wholes

Effect = Literal["dropped", "rejected", "translated"]
_EFFECTS: Mapping[str, Effect] = {
    **dict.fromkeys(("DROP", "QUEUE", "NFQUEUE", "STEAL", "drop", "queue"), "dropped"),
    **dict.fromkeys(("REJECT", "TARPIT", "reject"), "rejected"),
    **dict.fromkeys(("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "TPROXY"), "translated"),
    **dict.fromkeys(("masquerade", "snat", "dnat", "redirect", "tproxy"), "translated"),
}
"""By target of iptables, or statement of nftables."""
_SAVED = re.compile(r"\[(\d+):\d+\] -A (.*)")
_TARGET = re.compile(r" -[jg] (\w+)")
_SAVED_POLICY = re.compile(r":(\S+) (\w+) \[(\d+):\d+\]")
_NFT_TABLE = re.compile(r"table (\w+ \S+) \{")
_NFT_CHAIN = re.compile(r"\tchain (\S+) \{")
_NFT_POLICY = re.compile(r"\ttype .*policy (\w+);")
_NFT_COUNTER = re.compile(r" ?counter packets (\d+) bytes \d+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""Comments and names, which may read like a target."""
_NFT_SET = re.compile(r"\{[^}]*\}")


class Rule(NamedTuple):
    """A rule, or the policy of a chain."""

    text: str
    """With its program and table: "iptables: `-t filter -A INPUT -j DROP`"."""
    effect: Effect
    packets: int | None
    """None without a counter."""
    is_planned: bool

    def __str__(self) -> str:
        return self.text if self.is_planned else f"{self.text}, which is not in the plan,"


Rules = Mapping[str, Rule]
"""By text."""


def rules(space: Space) -> Rules:
    """The rules of the calling thread's namespace that drop or translate; without a program that lists them, none."""
    tables = set(nft_tables())
    found: list[Rule] = []
    saved: set[str] = set()
    for backend, family in iptables.FAMILIES.items():
        names = Path(f"/proc/thread-self/net/{family}_tables_names")
        legacy = names.exists() and names.read_text()
        for variant, is_used in (
            ("nft", any(f"{family} {table}" in tables for table in iptables.TABLES)),
            ("legacy", legacy),
        ):
            if is_used:
                text = _listing(f"{backend}-{variant}-save", "-c")
                saved |= {f"{family} {line[1:]}" for line in text.splitlines() if line.startswith("*")}
                found += _saved(backend, text, _planned(space, backend))
    if tables - saved:
        own = {table.name for table in space.of(NftTable)}
        own |= {table for part in space.of(Ruleset) if part.backend == "nftables" for table in _tables(part)}
        found += _listed(_listing("nft", "list", "ruleset"), saved, own)
    return {rule.text: rule for rule in found}


def risen(before: Rules, after: Rules) -> Iterator[Rule]:
    """The rules that counted a packet in between."""
    for text, rule in after.items():
        earlier = before[text].packets if text in before else 0
        if (rule.packets or 0) > (earlier or 0):
            yield rule


def _tables(part: Ruleset) -> Iterator[str]:
    yield from wholes([part])[part.backend].tables


def _planned(space: Space, backend: Backend) -> frozenset[str]:
    whole = wholes(space.of(Ruleset)).get(backend)
    return frozenset(line for line, _ in TOOLS[backend].lines(whole)) if whole else frozenset()


def _listing(*command: str) -> str:
    """The output of a program; empty if it is missing or fails."""
    with suppress(ToolFailed):
        done = run(command)
        return "" if done.returncode else done.stdout
    return ""


def _saved(backend: Backend, text: str, planned: frozenset[str]) -> Iterator[Rule]:
    """Rules in the output of iptables-save."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif found := _SAVED.fullmatch(line):
            target, rule = _TARGET.search(_QUOTED.sub("", line)), f"-t {table} -A {found[2]}"
            if target and target[1] in _EFFECTS:
                yield Rule(f"{backend}: `{rule}`", _EFFECTS[target[1]], int(found[1]), rule in planned)
        elif (found := _SAVED_POLICY.fullmatch(line)) and found[2] in _EFFECTS:
            rule = f"-t {table} -P {found[1]} {found[2]}"
            yield Rule(f"{backend}: `{rule}`", _EFFECTS[found[2]], int(found[3]), rule in planned)


def _listed(text: str, but: set[str], planned: set[str]) -> Iterator[Rule]:
    """Rules in the output of `nft list ruleset`, without the tables `but`."""
    table = chain = ""
    for line in text.splitlines():
        if found := _NFT_TABLE.match(line):
            table, chain = found[1], ""
        elif found := _NFT_CHAIN.match(line):
            chain = found[1]
        elif chain and table not in but:
            policy = _NFT_POLICY.search(line)
            # The last statement decides: `meta mark set 1 drop`.
            words = f"policy {policy[1]}" if policy else line.strip()
            counter = _NFT_COUNTER.search(words)
            words = _NFT_COUNTER.sub("", words)
            plain = _NFT_SET.sub("", _QUOTED.sub("", words))
            effects = [_EFFECTS[word] for word in plain.split() if word in _EFFECTS]
            effects += ["dropped"] if "vmap" in plain and "drop" in _QUOTED.sub("", words) else []
            if effects:
                counted = int(counter[1]) if counter else None
                yield Rule(f"nftables: `{table} {chain} {words.strip()}`", effects[-1], counted, table in planned)
