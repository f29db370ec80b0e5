"""Compare rules and sets, eBPF programs and maps, and datapath flows of a node with its plan."""

from collections.abc import Iterator
from dataclasses import replace

from testbed.kernel.bpf_calls import NAME_LENGTH
from testbed.kernel.state import State
from testbed.plan import shell
from testbed.plan.objects import BpfEntry, Datapath, Flow, NftTable, Space
from testbed.plan.rulesets import Ruleset
from testbed.plan.rulesets.mending import steps
from testbed.plan.rulesets.transactions import wholes

Finding = tuple[str, tuple[str, ...], str]
"""The difference, the commands that fix it, and what only the lab can make again."""


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
                yield f"{link.name}: ports {ports}", (), ""
            for flow in link.flows:
                if flow not in there.flows:
                    yield f"{link.name}: {_flow(flow)} missing", (shell.flow_command(link.name, flow),), ""
            for flow in sorted(there.flows - set(link.flows), key=str):
                mend = f"ovs-dpctl del-flow {link.name} '{flow.match}'"
                yield f"{link.name}: unexpected {_flow(flow)}", (mend,), ""


def _flow(flow: Flow) -> str:
    return f"flow `{flow.match}` with actions `{flow.actions}`"


def _rulesets(space: Space, now: State) -> Iterator[Finding]:
    """Line by line, also where nothing is planned."""
    planned = wholes(space.of(Ruleset))
    for step in steps(now.rulesets, planned):
        yield step.what, step.commands, ""


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
            what = f"{hook.dev}: eBPF program {hook.program} ({hook.where}) missing"
            yield what, tuple(commands), "" if commands else "programs"
    for hook in sorted(now.bpf.hooks - set(planned), key=str):
        if hook.where == "peer":  # Others are compared with all filters of tc.
            yield f"{hook.dev}: unexpected eBPF program {hook.program} ({hook.where})", (), "programs"
    for name in dict.fromkeys(entry.map for entry in space.bpf.entries):
        there = now.bpf.maps.get(name)
        if there is None:
            yield f"eBPF map {name} missing: no attached program uses it", (), ""
            continue
        entries = [entry for entry in space.bpf.entries if entry.map == name]
        for entry in entries:
            if there.get(entry.key) != entry.value:
                what = "has another value" if entry.key in there else "missing"
                found = f"eBPF map {name}: entry `{entry.note or entry.key.hex()}` {what}"
                yield found, (f"bpftool {shell.entry_words(entry)}",), ""
        for key in sorted(there.keys() - {entry.key for entry in entries}):
            extra = BpfEntry(name, key, b"")
            delete = f"bpftool {shell.entry_words(extra, verb='delete')}"
            yield f"eBPF map {name}: unexpected entry {key.hex()}", (delete,), ""


def _tables(space: Space, now: State) -> Iterator[Finding]:
    """Tables of nftables that nobody planned, with their rules, without those that iptables lists."""
    planned = {table.name for table in space.of(NftTable)}
    for table, rules in now.rules_of_tables.items():
        if table not in planned:
            told = f" with {'; '.join(rules)}" if rules else ""
            yield f"nftables: unexpected table `{table}`{told}", (f"nft delete table {table}",), ""
    for table in sorted(planned - now.tables):
        yield f"nftables: table `{table}` missing", (), ""
