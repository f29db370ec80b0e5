"""testbed inspect"""

import json
import sys
from dataclasses import asdict

import click

from testbed.cli.labs import lab_errors, lab_option, the_lab
from testbed.lab.living import LivingLab


@click.command(epilog="Example: testbed inspect")
@lab_option
@click.option("--counters", is_flag=True, help="Show instead what the design's eBPF programs forwarded and dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(name: str | None, counters: bool, as_json: bool) -> None:
    """Compare the kernel's state of every pod and node with the plan; exit code 1 if anything differs.

    Each difference is printed with the command that fixes it.
    """
    lab = the_lab(name)
    if counters:
        _show_counters(lab, as_json)
        return
    with lab_errors():
        from testbed.observe.inspect import inspect as look

        plan, ended = lab.plan, lab.ended()
        found = lab.inside(lambda namespaces: look(plan, namespaces, ended))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
    elif not found:
        click.echo(f"{lab.name}: {len(plan.spaces)} namespaces match the plan of design {plan.design}")
    for item in () if as_json else found:
        click.echo(f"{item.place}: {item.what}")
        for command in item.mend:
            click.echo(f"    {exec_words(lab)} {item.place} -- {command}")
    sys.exit(1 if found else 0)


def _show_counters(lab: LivingLab, as_json: bool) -> None:
    with lab_errors():
        from testbed.observe.program_counts import counts

        plan = lab.plan
        found = lab.inside(lambda namespaces: counts(plan, namespaces))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
        return
    if not any(space.bpf for space in plan.spaces):
        click.echo(f"The design {plan.design} has no eBPF programs and no counters.")
        return
    rows = [("node", "counted by", "direction", "", "packets", "bytes")]
    for item in found:
        who = item.program or f"endpoint {item.pod}"
        what = f"dropped: {item.reason}" if item.is_drop else item.reason
        rows.append((item.place, who, item.direction, what, f"{item.packets:,}", f"{item.bytes:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = (word.ljust(width) for word, width in zip(row[:4], widths, strict=False))
        numbers = (word.rjust(width) for word, width in zip(row[4:], widths[4:], strict=True))
        click.echo("  ".join((*words, *numbers)))


def exec_words(lab: LivingLab) -> str:
    """The `testbed exec` for this lab, with its name if several are up."""
    return "testbed exec" if len(LivingLab.all()) == 1 else f"testbed exec -n {lab.name}"
