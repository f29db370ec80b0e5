"""What differs in what a node is programmed with: firewalls, eBPF programs and their maps, flows of datapaths."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

from testbed.kernel.bpf_calls import NAME_LENGTH
from testbed.kernel.firewall import lines_of, tables_of
from testbed.kernel.state import State
from testbed.plan import shell
from testbed.plan.objects import BpfEntry, Datapath, Firewall, Flow, NftTable, Space

Finding = tuple[str, str]
"""What differs, and the commands, a line each."""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def programmed(space: Space, now: State) -> Iterator[Finding]:
    """All of it in one namespace."""
    yield from _flows(space, now)
    yield from _firewalls(space, now)
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


def _firewalls(space: Space, now: State) -> Iterator[Finding]:
    for tool in dict.fromkeys(firewall.tool for firewall in space.of(Firewall)):
        planned = lines_of([firewall.text for firewall in space.of(Firewall) if firewall.tool == tool])
        there = lines_of([now.firewalls.get(tool, "")])
        planned_lines, lines_there = set(planned), set(there)
        for line in planned:
            if line not in lines_there:
                mend = f"{tool} {_quoted(line)}" if line.startswith(("-t", "add", "create")) else ""
                yield f"{tool} has not `{line}`", mend
        for line in there:
            if line not in planned_lines:
                yield f"{tool} has `{line}`", ""
        if sorted(planned) == sorted(there) and planned != there:
            yield f"the rules of {tool} are in another order", ""


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
            commands = [] if hook.where == "peer" else [f"tc {shell.hook_words(hook, verb='replace')}"]
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
    """Those of nftables; what iptables makes of a firewall's rules is held against the plan by itself."""
    own = {table for firewall in space.of(Firewall) for table in tables_of(firewall.tool, firewall.text)}
    own.update(table.name for table in space.of(NftTable))
    for table in sorted(now.tables - own):
        yield f"nftables has a table `{table}`", f"nft delete table {table}"
