"""Load, change and read the rulesets of the calling thread's namespace.

A change is applied completely or not at all: if a step is refused, the steps before it are undone.
"""

import re
from collections.abc import Iterable, Mapping

from testbed.kernel.tools import ToolFailed, call, run
from testbed.plan.rulesets import BUILT_IN, Backend, Ruleset, ipset, iptables, ipvs, nftables
from testbed.plan.rulesets.edits import carried
from testbed.plan.rulesets.merge import Whole, WholeChain
from testbed.plan.rulesets.transactions import Transaction, changing, loading, wholes

_PATIENCE_S = 120
"""Enough for 10,000 rules on a busy machine."""
_LINE = re.compile(r"line:? (\d+)")
_LINE_BY_LINE: frozenset[Backend] = frozenset(("ipset", "ipvs"))
"""Backends whose tools execute lines one by one, up to a refused one."""
Wholes = dict[Backend, Whole]


class RulesetRefused(ToolFailed):
    """A backend refused a transaction."""

    def __init__(self, backend: Backend, message: str, line: str) -> None:
        super().__init__(f"{backend}: {message}{f', in `{line}`' if line else ''}")
        self.backend = backend
        self.message = message
        """The tool's error message."""
        self.line = line
        """The refused line, or command of nftables; empty if unknown."""


def load(parts: Iterable[Ruleset]) -> None:
    """Load rules into a namespace that has none. The same parts may be loaded again.

    Raises RulesetRefused, and ValueError if parts contradict one another.
    """
    for step in loading(wholes(parts)):
        _apply(step)


def change(old: Iterable[Ruleset], new: Iterable[Ruleset]) -> None:
    """Change the owners' parts from `old` to `new`; all other rules stay.

    Raises RulesetRefused, after which nothing has changed, and ValueError like `load`.
    """
    before, after = _with_foreign_rules(wholes(old), wholes(new))
    done: list[Transaction] = []
    for step in changing(before, after):
        done.append(step)
        try:
            _apply(step)
        except RulesetRefused:
            for undo in changing(_reached(before, after, done), before):
                _apply(undo)
            raise


def listed(wanted: Mapping[Backend, Iterable[str]]) -> Wholes:
    """The current rules of these backends; of nftables only in these tables. Raises ToolFailed."""
    return {backend: _listed(backend, tables) for backend, tables in wanted.items()}


def to_list(parts: Iterable[Ruleset]) -> dict[Backend, tuple[str, ...]]:
    """The backends and tables to list for these parts."""
    return {backend: whole.tables for backend, whole in wholes(parts).items()}


def _listed(backend: Backend, tables: Iterable[str]) -> Whole:
    if backend == "ipset":
        return ipset.listed(call(("ipset", "save"), patience_s=_PATIENCE_S))
    if backend == "ipvs":
        return ipvs.listed(call(("ipvsadm", "--save", "--numeric"), patience_s=_PATIENCE_S))
    if backend != "nftables":
        return iptables.listed(backend, call((f"{backend}-save",), patience_s=_PATIENCE_S))
    # nft fails for a missing table.
    outputs = [run(("nft", "-j", "list", "table", *table.split(" ")), "", _PATIENCE_S).stdout for table in tables]
    there = [nftables.listed(text) for text in outputs]
    return Whole(
        backend,
        {key: chain for whole in there for key, chain in whole.chains.items()},
        {key: one for whole in there for key, one in whole.sets.items()},
    )


def _with_foreign_rules(old: Wholes, new: Wholes) -> tuple[Wholes, Wholes]:
    """Both, with the rules of others added to changed built-in chains, since rules are changed by number."""
    for backend in iptables.FAMILIES:
        before, after = old.get(backend, Whole(backend)), new.get(backend, Whole(backend))
        keys = [
            key
            for key in dict.fromkeys((*before.chains, *after.chains))
            if key[1] in BUILT_IN and _rules(before, key) != _rules(after, key)
        ]
        if keys:
            there = _listed(backend, ())
            ours = {key: carried(_rules(there, key), _rules(before, key), _rules(after, key)) for key in keys}
            old[backend] = _replaced(before, {key: _rules(there, key) for key in keys})
            new[backend] = _replaced(after, ours)
    return old, new


def _rules(whole: Whole, key: tuple[str, str]) -> tuple[str, ...]:
    return whole.chains.get(key, WholeChain()).rules


def _replaced(whole: Whole, rules: Mapping[tuple[str, str], tuple[str, ...]]) -> Whole:
    changed = {key: WholeChain(own, policy=whole.chains.get(key, WholeChain()).policy) for key, own in rules.items()}
    return Whole(whole.backend, {**whole.chains, **changed}, whole.sets)


def _reached(old: Wholes, new: Wholes, done: list[Transaction]) -> Wholes:
    """The state after a change whose last step was refused: steps are transactions, except for `_LINE_BY_LINE`."""
    reached = dict(old)
    for step in done[:-1]:
        before, after = reached.get(step.backend, Whole(step.backend)), new.get(step.backend, Whole(step.backend))
        tables = (step.table,) if step.table else (*before.tables, *after.tables)
        others = before.only(*(set(before.tables) - set(tables)))
        now = after.only(*tables)
        reached[step.backend] = Whole(step.backend, {**others.chains, **now.chains}, {**others.sets, **now.sets})
    for backend in {step.backend for step in done} & _LINE_BY_LINE:
        names = {("", ipset.NEXT), *(key for whole in (old, new) if backend in whole for key in whole[backend].sets)}
        sets = _listed(backend, ()).sets
        reached[backend] = Whole(backend, sets={key: one for key, one in sets.items() if key in names})
    return reached


def _apply(step: Transaction) -> None:
    done = run(step.command, step.text, _PATIENCE_S)
    if done.returncode:
        message = done.stderr.strip() or f"exit code {done.returncode}"
        raise RulesetRefused(step.backend, message.split("\nTry `")[0], _culprit(step, message))


def _culprit(step: Transaction, message: str) -> str:
    """The line that a tool refused; empty if unknown."""
    lines = step.text.splitlines()
    if step.backend == "nftables":
        return _first_refused([line.removesuffix(",") for line in lines[1:-1]])
    found = _LINE.search(message)
    return lines[int(found[1]) - 1] if found and int(found[1]) <= len(lines) else ""


def _first_refused(commands: list[str]) -> str:
    """The first refused command of nftables, found by bisection: nft does not report it."""
    least, most = 1, len(commands)
    while least < most:
        middle = (least + most) // 2
        text = '{"nftables":[' + ",".join(commands[:middle]) + "]}"
        refused = run(("nft", "--check", "-j", "-f", "-"), text, _PATIENCE_S).returncode
        least, most = (least, middle) if refused else (middle + 1, most)
    return commands[least - 1] if commands else ""
