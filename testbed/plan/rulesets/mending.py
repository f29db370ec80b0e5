"""The commands that turn existing rules into the planned ones, each with the line that it adds or removes.

They are to run in order: sets before the rules that refer to them, chains before the rules that jump to them.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from testbed.plan.rulesets import ipset, iptables
from testbed.plan.rulesets.edits import edits
from testbed.plan.rulesets.merge import Whole, WholeChain
from testbed.plan.rulesets.owners import OWNERS
from testbed.plan.rulesets.parts import BACKENDS, BUILT_IN, Backend
from testbed.plan.rulesets.quoting import quoted
from testbed.plan.rulesets.transactions import TOOLS


class Step(NamedTuple):
    """A difference, and the commands that remove it."""

    what: str
    """Empty for a further command of the step before."""
    commands: tuple[str, ...] = ()


def steps(there: Mapping[Backend, Whole], planned: Mapping[Backend, Whole]) -> Iterator[Step]:
    """All steps of these backends; of nftables and IPVS, the last has all commands."""
    for backend in BACKENDS:
        before, after = (whole.get(backend, Whole(backend)) for whole in (there, planned))
        if backend == "ipset":
            yield from _sets(before, after)
        elif backend in iptables.FAMILIES:
            yield from _chains(before, after)
        elif backend in planned:
            yield from _by_line(before, after)
    if "ipset" in planned and "ipset" in there:
        gone = ipset.removal(there["ipset"], planned["ipset"]).splitlines()
        for line in gone:
            name = line.partition(" ")[2]
            kind = there["ipset"].sets["", name].kind
            yield Step(f"ipset: unexpected `create {name} {kind}`", (f"ipset {quoted(line)}",))


def _of(owner: str) -> str:
    return f" of {OWNERS[owner].title}" if owner else ""


def _chains(old: Whole, new: Whole) -> Iterator[Step]:
    backend = old.backend
    for table in sorted({*old.tables, *new.tables}, key=iptables.TABLES.index):
        before, after = old.chains_of(table), new.chains_of(table)
        start = f"{backend} -t {table}"
        for name, chain in after.items():
            if name not in before and name not in BUILT_IN:
                owner = _of(chain.owners[0] if chain.owners else "")
                yield Step(f"{backend}: `-t {table} -N {name}`{owner} missing", (f"{start} -N {quoted(name)}",))
        # A chain has its rules before others jump to it.
        for name in sorted({*before, *after}, key=lambda name: (name not in after, name in BUILT_IN, name)):
            yield from _chain(backend, table, name, before.get(name, WholeChain()), after.get(name, WholeChain()))
        for name in before:
            if name not in after and name not in BUILT_IN:
                yield Step(f"{backend}: unexpected `-t {table} -N {name}`", (f"{start} -X {quoted(name)}",))


def _chain(backend: Backend, table: str, name: str, old: WholeChain, new: WholeChain) -> Iterator[Step]:
    start, found = f"{backend} -t {table}", edits(old.rules, new.rules)
    now, wanted = old.policy or "ACCEPT", new.policy or "ACCEPT"
    if name in BUILT_IN and now != wanted:
        line = f"-t {table} -P {name} {now if wanted == 'ACCEPT' else wanted}"
        what = f"unexpected `{line}`" if wanted == "ACCEPT" else f"`{line}` missing"
        yield Step(f"{backend}: {what}", (f"{start} -P {name} {wanted}",))
    moved = {old.rules[place] for place in found.deleted} & {new.rules[place] for place in found.inserted}
    for place in found.deleted:
        rule = old.rules[place]
        line = f"`-t {table} -A {name} {rule}`"
        what = f"{line} not in the planned place" if rule in moved else f"unexpected {line}"
        yield Step(f"{backend}: {what}", (f"{start} -D {quoted(name)} {place + 1}",))
    owners = new.owners or ("",) * len(new.rules)
    for length, place in enumerate(found.inserted, start=len(old.rules) - len(found.deleted)):
        rule = new.rules[place]
        how = f"-A {name} {rule}" if place == length else f"-I {name} {place + 1} {rule}"
        line = f"`-t {table} -A {name} {rule}`"
        what = f"{line} not in the planned place" if rule in moved else f"{line}{_of(owners[place])} missing"
        yield Step(f"{backend}: {what}", (f"{start} {quoted(how)}",))


def _sets(old: Whole, new: Whole) -> Iterator[Step]:
    """Sets and members to add or change; whole sets are removed after the rules."""
    for (_, name), one in sorted(new.sets.items(), key=lambda item: item[1].kind.startswith("list:")):
        before = old.sets.get(("", name))
        if before is None:
            line = f"create {name} {one.kind}"
            yield Step(f"ipset: `{line}`{_of(one.owner)} missing", (f"ipset {quoted(line)}",))
        elif before.kind != one.kind:
            what = f"ipset: `create {name} {before.kind}`, expected `{one.kind}`"
            yield Step(what, tuple(f"ipset {quoted(line)}" for line in _replacing(name, one.kind, one.members)))
            continue
        there = {member.partition(" ")[0]: member for member in (before.members if before else ())}
        wanted = {member.partition(" ")[0]: member for member in one.members}
        for key, member in there.items():
            if key not in wanted:
                yield Step(f"ipset: unexpected `add {name} {member}`", (f"ipset {quoted(f'del {name} {key}')}",))
        for key, member in wanted.items():
            if there.get(key) != member:
                line = f"add {name} {member}"
                yield Step(f"ipset: `{line}`{_of(one.owner)} missing", (f"ipset -exist {quoted(line)}",))


def _replacing(name: str, kind: str, members: Iterable[str]) -> Iterator[str]:
    """Lines that swap in a set of another kind; the kernel refuses another type while rules refer to the set."""
    yield f"create {ipset.NEXT} {kind}"
    yield from (f"add {ipset.NEXT} {member}" for member in members)
    yield f"swap {name} {ipset.NEXT}"
    yield f"destroy {ipset.NEXT}"


def _by_line(old: Whole, new: Whole) -> Iterator[Step]:
    tool = TOOLS[new.backend]
    there, planned = list(tool.lines(old)), list(tool.lines(new))
    known, wanted = {line for line, _ in there}, {line for line, _ in planned}
    whats = [f"`{line}`{_of(owner)} missing" for line, owner in planned if line not in known]
    whats += [f"unexpected `{line}`" for line, _ in there if line not in wanted]
    if not whats and [line for line, _ in planned] != [line for line, _ in there]:
        whats = ["rules not in the planned order"]
    if whats:
        text = tool.difference(old, new)
        reading = f"printf %s {shlex.quote(text)} | {' '.join(tool.change)}"
        commands = [()] * (len(whats) - 1) + [(f"sh -c {shlex.quote(reading)}",) if text else ()]
        for what, own in zip(whats, commands, strict=True):
            yield Step(f"{new.backend}: {what}", own)
