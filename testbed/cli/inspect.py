"""testbed inspect"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from testbed.cli.labs import lab_errors, lab_option, the_lab
from testbed.lab.living import LivingLab

if TYPE_CHECKING:
    from testbed.observe.inspect import Difference


@click.command(epilog="Example: testbed inspect --mend")
@lab_option
@click.option("--mend", "mending", is_flag=True, help="Fix what differs, compare again, and print what remains.")
@click.option("--counters", is_flag=True, help="Show instead what the design's eBPF programs forwarded and dropped.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def inspect(name: str | None, mending: bool, counters: bool, as_json: bool) -> None:
    """Compare the kernel's state of every pod and node with the plan; exit code 1 if anything differs.

    Each difference is printed with the commands that fix it. Run them once, in this order.
    """
    lab = the_lab(name)
    if counters:
        _show_counters(lab, as_json)
        return
    found = _look(lab)
    if not mending or not found:
        _print(lab, found, as_json)
        sys.exit(1 if found else 0)
    if not as_json:
        _show(lab, found, with_commands=False)
    with lab_errors():
        from testbed.lab.mending import mended

        done = mended(lab, found, lambda: _look(lab))
    for item in done.refused:
        click.echo(f"{item.place}: `{item.command}` failed: {item.message}", err=True)
    if as_json:
        _print(lab, done.left, as_json)
    elif done.left:
        click.echo(f"{lab.name}: {_counted(done.left)} left:")
        _show(lab, done.left, with_commands=True)
    else:
        click.echo(f"{lab.name}: fixed {_counted(found)}; {_matching(lab)}")
    sys.exit(1 if done.left else 0)


def _look(lab: LivingLab) -> "tuple[Difference, ...]":
    with lab_errors():
        from testbed.observe.inspect import inspect as look

        plan, ended = lab.plan, lab.ended()
        return lab.inside(lambda namespaces: look(plan, namespaces, ended))


def _print(lab: LivingLab, found: "Sequence[Difference]", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
    elif found:
        _show(lab, found, with_commands=True)
    else:
        from testbed.observe.inspect import NOT_COMPARED

        click.echo(f"{lab.name}: {_matching(lab)}")
        click.echo(f"not compared: {NOT_COMPARED}")


def _show(lab: LivingLab, found: "Sequence[Difference]", with_commands: bool) -> None:
    for item in found:
        click.echo(f"{item.place}: {item.what}")
        for command in item.mend if with_commands else ():
            click.echo(f"    {exec_words(lab)} {item.place} -- {command}")
    if with_commands and any(item.again for item in found):
        click.echo(f"    testbed inspect --mend{named(lab)}")


def _counted(found: "Sequence[Difference]") -> str:
    return f"{len(found)} difference{'' if len(found) == 1 else 's'}"


def _matching(lab: LivingLab) -> str:
    plan = lab.plan
    return f"{len(plan.spaces)} namespaces match the plan of design {plan.design}"


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
    return f"testbed exec{named(lab)}"


def named(lab: LivingLab) -> str:
    """The option that names the lab, if several are up."""
    return "" if len(LivingLab.all()) == 1 else f" --lab {lab.name}"
