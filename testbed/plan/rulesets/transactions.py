"""The texts that load the parts of all owners into a namespace, in order.

Sets are created before the rules that refer to them, and removed after them. Each text is loaded by one command.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from testbed.plan.rulesets import ipset, iptables, ipvs, nftables
from testbed.plan.rulesets.merge import Whole, merged
from testbed.plan.rulesets.parts import BACKENDS, Backend, Ruleset


@dataclass(frozen=True)
class Transaction:
    """A text, and the command that reads it."""

    backend: Backend
    command: tuple[str, ...]
    text: str
    table: str = ""
    """For iptables, the table that the text changes; empty if there are several."""


@dataclass(frozen=True)
class Tool:
    """How to load the texts of a backend."""

    load: tuple[str, ...]
    """The command that reads a `text`."""
    change: tuple[str, ...]
    """The command that reads a `difference`."""
    text: Callable[[Whole], str]
    difference: Callable[[Whole, Whole], str]
    lines: Callable[[Whole], Iterator[tuple[str, str]]]
    """The contents of a whole, planned or listed, each line with its owner."""


def _iptables(name: str) -> Tool:
    load = (f"{name}-restore", "--wait")
    return Tool(load, (*load, "--noflush"), iptables.text, iptables.difference, iptables.lines)


_IPSET, _NFT, _IPVS = ("ipset", "-exist", "restore"), ("nft", "-j", "-f", "-"), ("ipvsadm", "--restore")
TOOLS: dict[Backend, Tool] = {
    "ipset": Tool(_IPSET, _IPSET, ipset.text, ipset.difference, ipset.lines),
    "iptables": _iptables("iptables"),
    "ip6tables": _iptables("ip6tables"),
    "nftables": Tool(_NFT, _NFT, nftables.text, nftables.difference, nftables.lines),
    "ipvs": Tool(_IPVS, _IPVS, ipvs.text, ipvs.difference, ipvs.lines),
}


def wholes(parts: Iterable[Ruleset]) -> dict[Backend, Whole]:
    """The whole of each backend of these parts, in the order of loading. Raises ValueError."""
    parts = tuple(parts)
    named = {part.backend for part in parts}
    return {backend: merged(parts, backend) for backend in BACKENDS if backend in named}


def loading(wanted: Mapping[Backend, Whole]) -> tuple[Transaction, ...]:
    """The transactions for a namespace without rules. Existing tables are flushed."""
    return tuple(
        Transaction(backend, TOOLS[backend].load, TOOLS[backend].text(whole)) for backend, whole in wanted.items()
    )


def changing(old: Mapping[Backend, Whole], new: Mapping[Backend, Whole]) -> tuple[Transaction, ...]:
    """The transactions that turn `old` into `new`; none for a backend in which they are equal.

    Raises SetChangesType.
    """
    return tuple(step for step in _steps(old, new) if step.text)


def _steps(old: Mapping[Backend, Whole], new: Mapping[Backend, Whole]) -> Iterator[Transaction]:
    for backend in BACKENDS:
        tool, nothing = TOOLS[backend], Whole(backend)
        before, after = old.get(backend, nothing), new.get(backend, nothing)
        if before is after:
            continue
        # iptables applies each table separately, so a text of several tables may be applied only in part.
        tables = dict.fromkeys((*before.tables, *after.tables)) if backend in iptables.FAMILIES else ()
        for table in sorted(tables, key=iptables.TABLES.index) or [""]:
            one, other = (before.only(table), after.only(table)) if table else (before, after)
            yield Transaction(backend, tool.change, tool.difference(one, other), table)
    if "ipset" in old:
        gone = ipset.removal(old["ipset"], new.get("ipset", Whole("ipset")))
        yield Transaction("ipset", ("ipset", "restore"), gone)
