"""What differs in what a node is programmed with: rules and sets, eBPF programs and their maps, flows of datapaths."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from testbed.kernel.bpf_calls import NAME_LENGTH
from testbed.kernel.state import State
from testbed.plan import shell
from testbed.plan.objects import BpfEntry, Datapath, Flow, NftTable, Space
from testbed.plan.rulesets import Backend, Ruleset, iptables
from testbed.plan.rulesets.merge import Whole
from testbed.plan.rulesets.owners import OWNERS
from testbed.plan.rulesets.transactions import TOOLS, wholes

Finding = tuple[str, str]
"""What differs, and the commands, a line each."""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def programmed(space: Space, now: State) -> Iterator[Finding]:
    """All of it in one namespace."""
    yield from _flows(space, now)
    yield from _rulesets(space, now)
    yield from _programs(space, now)
    yield from _tables(space, now)


def _flows(space: Space, now: State) -> Iterator[Finding]:
    """Of datapaths that are there; one that is not comes with its flows."""
    for link in space.links:
        if isinstance(link, Datapath) and (there := now.datapaths.get(link.name)):
            if there.ports != link.ports:
                yield (
                    f"the ports of {link.name} are {', '.join(there.ports) or 'none'}, not {', '.join(link.ports)}",
                    "",
                )
            for flow in link.flows:
                if flow not in there.flows:
                    yield f"{link.name} has no flow {_flow(flow)}", shell.flow_command(link.name, flow)
            for flow in sorted(there.flows - set(link.flows), key=str):
                yield f"{link.name} has a flow {_flow(flow)}", f"ovs-dpctl del-flow {link.name} '{flow.match}'"


def _flow(flow: Flow) -> str:
    return f"`{flow.match}` with the actions `{flow.actions}`"


def _rulesets(space: Space, now: State) -> Iterator[Finding]:
    for backend, whole in wholes(space.of(Ruleset)).items():
        lines = TOOLS[backend].lines
        planned = list(lines(whole))
        there = [line for line, _ in lines(now.rulesets.get(backend, Whole(backend)))]
        planned_lines, lines_there = {line for line, _ in planned}, set(there)
        for line, owner in planned:
            if line not in lines_there:
                whose = f" of {OWNERS[owner].title}" if owner else ""
                yield f"{backend} lacks `{line}`{whose}", _adding(backend, whole, line)
        for line in there:
            if line not in planned_lines:
                yield f"{backend} has `{line}`, which is not planned", ""
        if sorted(planned_lines) == sorted(there) and [line for line, _ in planned] != there:
            yield f"the rules of {backend} are in another order", ""


def _adding(backend: Backend, whole: Whole, line: str) -> str:
    """The command that makes it; a rule at its place in the chain. None for nftables."""
    if backend == "nftables":
        return ""
    program = "ipvsadm" if backend == "ipvs" else backend
    _, table, verb, chain, *_ = *line.split(" ", 4), "", ""
    if backend in iptables.FAMILIES and verb == "-A":
        rules, rule = whole.chains[table, chain].rules, line.split(" ", 4)[4]
        if (place := rules.index(rule) + 1) < len(rules):
            line = f"-t {table} -I {chain} {place} {rule}"
    return f"{program} {_quoted(line)}"


def _quoted(line: str) -> str:
    """A line as a shell takes it: iptables and ipset quote words with blanks alone, and sets may have any names."""
    words = (re.sub(r"\\(.)", r"\1", quoted) or plain for quoted, plain in _WORD.findall(line))
    return shlex.join(words)


def _programs(space: Space, now: State) -> Iterator[Finding]:
    """eBPF. A map of which the plan says nothing holds what the programs themselves put there."""
    if space.bpf is None or now.bpf is None:
        return
    planned = {replace(hook, program=hook.program[:NAME_LENGTH]): hook for hook in space.bpf.hooks}
    classifying = set(now.classifying)
    for short, hook in planned.items():
        if short not in now.bpf.hooks:
            commands = [] if hook.where == "peer" else [f"tc {shell.hook_words(hook, space.bpf.pins, 'replace')}"]
            if commands and hook.dev not in classifying:
                classifying.add(hook.dev)
                commands.insert(0, f"tc {shell.clsact_words(hook.dev)}")
            yield f"the program {hook.program} does not hang on {hook.dev} ({hook.where})", "\n".join(commands)
    for hook in sorted(now.bpf.hooks - set(planned), key=str):
        mend = f"tc filter del dev {hook.dev} {hook.where}" if hook.where != "peer" else ""
        yield f"there is a program {hook.program} on {hook.dev} ({hook.where})", mend
    for name in dict.fromkeys(entry.map for entry in space.bpf.entries):
        there = now.bpf.maps.get(name)
        if there is None:
            yield f"no program on a device has the map {name}", ""
            continue
        entries = [entry for entry in space.bpf.entries if entry.map == name]
        for entry in entries:
            if there.get(entry.key) != entry.value:
                what = "has another entry than" if entry.key in there else "has no entry"
                yield f"the map {name} {what} `{entry.note or entry.key.hex()}`", f"bpftool {shell.entry_words(entry)}"
        for key in sorted(there.keys() - {entry.key for entry in entries}):
            extra = BpfEntry(name, key, b"")
            yield f"the map {name} has an entry {key.hex()}", f"bpftool {shell.entry_words(extra, verb='delete')}"


def _tables(space: Space, now: State) -> Iterator[Finding]:
    """Those of nftables that nobody planned; those that iptables makes are known by its rules."""
    own = {table.name for table in space.of(NftTable)}
    for backend, whole in wholes(space.of(Ruleset)).items():
        own |= {*(iptables.tables(whole) if backend in iptables.FAMILIES else whole.tables)}
    for table in sorted(now.tables - own):
        yield f"nftables has a table `{table}`", f"nft delete table {table}"
