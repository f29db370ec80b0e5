"""testbed down"""

import os
from pathlib import Path

import click

from testbed.cli.labs import VARIABLE, lab_errors, the_lab
from testbed.cli.log import LOG, need_log, write_log
from testbed.lab.door import Unanswered
from testbed.lab.living import LivingLab

MOST_ERRORS = 5


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [lab.name for lab in LivingLab.all() if lab.name.startswith(incomplete)]


@click.command(epilog="Example: testbed down")
@click.argument("name", required=False, shell_complete=_complete)
@click.option("--all", "every", is_flag=True, help="End all labs of this user; as root, of all users.")
@LOG
def down(name: str | None, every: bool, log: Path | None) -> None:
    """End a lab, and everything that runs in it. NAME may be omitted if only one
    is up, or if TESTBED_LAB names it.

    Errors of CNI plugins that detach pods are printed; the lab ends anyway.
    """
    if every and name:
        raise click.UsageError("NAME and --all exclude each other")
    need_log(log)
    calls = ""
    for lab in (
        LivingLab.all() if every else [the_lab(name or os.environ.get(VARIABLE), f"name one, or set {VARIABLE}")]
    ):
        try:
            ending = lab.down()
        except Unanswered:
            if not every:
                with lab_errors():
                    raise
        else:
            calls += ending.log
            for error in ending.errors[:MOST_ERRORS]:
                click.echo(f"testbed: {error}", err=True)
            if (more := len(ending.errors) - MOST_ERRORS) > 0:
                click.echo(f"testbed: and {more} more errors of CNI plugins", err=True)
            click.echo(f"{lab.name} is down")
    write_log(log, calls)
