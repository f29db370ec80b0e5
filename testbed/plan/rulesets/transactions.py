"""What a namespace's backends are told, and in which order, so that it holds the parts of all owners.

Sets are made before rules that name them, and taken away behind them. Each text is carried out by one program.
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
    """Of iptables the only one that it is about; empty if it is about several."""


@dataclass(frozen=True)
class Tool:
    """How one backend is told."""

    load: tuple[str, ...]
    """Reads a `text`."""
    change: tuple[str, ...]
    """Reads a `difference`."""
    text: Callable[[Whole], str]
    difference: Callable[[Whole, Whole], str]
    lines: Callable[[Whole], Iterator[tuple[str, str]]]
    """What a whole consists of, in words, each with its owner; the same for what is read back."""


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
    """The whole of each backend that these parts are of, in the order in which they are told. Raises ValueError."""
    parts = tuple(parts)
    named = {part.backend for part in parts}
    return {backend: merged(parts, backend) for backend in BACKENDS if backend in named}


def loading(wanted: Mapping[Backend, Whole]) -> tuple[Transaction, ...]:
    """What fills a namespace that has nothing yet. Tables that are there are emptied."""
    return tuple(
        Transaction(backend, TOOLS[backend].load, TOOLS[backend].text(whole)) for backend, whole in wanted.items()
    )


def changing(old: Mapping[Backend, Whole], new: Mapping[Backend, Whole]) -> tuple[Transaction, ...]:
    """What turns the one into the other; nothing of a backend in which they are alike.

    Raises SetChangesType.
    """
    return tuple(step for step in _steps(old, new) if step.text)


def _steps(old: Mapping[Backend, Whole], new: Mapping[Backend, Whole]) -> Iterator[Transaction]:
    for backend in BACKENDS:
        tool, nothing = TOOLS[backend], Whole(backend)
        before, after = old.get(backend, nothing), new.get(backend, nothing)
        if before is after:
            continue
        # A text of several tables of iptables is several transactions, of which only some may be carried out.
        tables = dict.fromkeys((*before.tables, *after.tables)) if backend in iptables.FAMILIES else ()
        for table in sorted(tables, key=iptables.TABLES.index) or [""]:
            one, other = (before.only(table), after.only(table)) if table else (before, after)
            yield Transaction(backend, tool.change, tool.difference(one, other), table)
    if "ipset" in old:
        gone = ipset.removal(old["ipset"], new.get("ipset", Whole("ipset")))
        yield Transaction("ipset", ("ipset", "restore"), gone)
