"""Compare rules and sets, eBPF programs and maps, and datapath flows of a node with its plan."""

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
"""The difference, and the commands that fix it, one a line."""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def programmed(space: Space, now: State) -> Iterator[Finding]:
    """The differences in one namespace."""
    yield from _flows(space, now)
    yield from _rulesets(space, now)
    yield from _programs(space, now)
    yield from _tables(space, now)


def _flows(space: Space, now: State) -> Iterator[Finding]:
    """Of existing datapaths; a missing one is made with its flows."""
    for link in space.links:
        if isinstance(link, Datapath) and (there := now.datapaths.get(link.name)):
            if there.ports != link.ports:
                ports = f"{', '.join(there.ports) or 'none'}; expected {', '.join(link.ports)}"
                yield f"{link.name}: ports {ports}", ""
            for flow in link.flows:
                if flow not in there.flows:
                    yield f"{link.name}: {_flow(flow)} missing", shell.flow_command(link.name, flow)
            for flow in sorted(there.flows - set(link.flows), key=str):
                yield f"{link.name}: unexpected {_flow(flow)}", f"ovs-dpctl del-flow {link.name} '{flow.match}'"


def _flow(flow: Flow) -> str:
    return f"flow `{flow.match}` with actions `{flow.actions}`"


def _rulesets(space: Space, now: State) -> Iterator[Finding]:
    for backend, whole in wholes(space.of(Ruleset)).items():
        lines = TOOLS[backend].lines
        planned = list(lines(whole))
        there = [line for line, _ in lines(now.rulesets.get(backend, Whole(backend)))]
        planned_lines, lines_there = {line for line, _ in planned}, set(there)
        for line, owner in planned:
            if line not in lines_there:
                whose = f" of {OWNERS[owner].title}" if owner else ""
                yield f"{backend}: `{line}`{whose} missing", _adding(backend, whole, line)
        for line in there:
            if line not in planned_lines:
                yield f"{backend}: unexpected `{line}`", ""
        if sorted(planned_lines) == sorted(there) and [line for line, _ in planned] != there:
            yield f"{backend}: rules not in the planned order", ""


def _adding(backend: Backend, whole: Whole, line: str) -> str:
    """The command that adds the line, a rule at its place in the chain; empty for nftables."""
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
    """Quote a line for a shell: iptables and ipset quote only words with blanks, and set names may be arbitrary."""
    words = (re.sub(r"\\(.)", r"\1", quoted) or plain for quoted, plain in _WORD.findall(line))
    return shlex.join(words)


def _programs(space: Space, now: State) -> Iterator[Finding]:
    """eBPF programs and maps. Maps that the plan does not fill are skipped: the programs fill them."""
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
            yield f"{hook.dev}: eBPF program {hook.program} ({hook.where}) missing", "\n".join(commands)
    for hook in sorted(now.bpf.hooks - set(planned), key=str):
        mend = f"tc filter del dev {hook.dev} {hook.where}" if hook.where != "peer" else ""
        yield f"{hook.dev}: unexpected eBPF program {hook.program} ({hook.where})", mend
    for name in dict.fromkeys(entry.map for entry in space.bpf.entries):
        there = now.bpf.maps.get(name)
        if there is None:
            yield f"eBPF map {name} missing: no attached program uses it", ""
            continue
        entries = [entry for entry in space.bpf.entries if entry.map == name]
        for entry in entries:
            if there.get(entry.key) != entry.value:
                what = "has another value" if entry.key in there else "missing"
                found = f"eBPF map {name}: entry `{entry.note or entry.key.hex()}` {what}"
                yield found, f"bpftool {shell.entry_words(entry)}"
        for key in sorted(there.keys() - {entry.key for entry in entries}):
            extra = BpfEntry(name, key, b"")
            delete = f"bpftool {shell.entry_words(extra, verb='delete')}"
            yield f"eBPF map {name}: unexpected entry {key.hex()}", delete


def _tables(space: Space, now: State) -> Iterator[Finding]:
    """Unplanned tables of nftables, without those that planned iptables rules create."""
    own = {table.name for table in space.of(NftTable)}
    for backend, whole in wholes(space.of(Ruleset)).items():
        own |= {*(iptables.tables(whole) if backend in iptables.FAMILIES else whole.tables)}
    for table in sorted(now.tables - own):
        yield f"nftables: unexpected table `{table}`", f"nft delete table {table}"
