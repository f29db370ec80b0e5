"""testbed down"""

from pathlib import Path

import click

from testbed.cli.labs import the_lab, understood
from testbed.cli.log import LOG, need_log, write_log
from testbed.lab.door import Unanswered
from testbed.lab.living import LivingLab


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [lab.name for lab in LivingLab.all() if lab.name.startswith(incomplete)]


@click.command(epilog="Example: testbed down")
@click.argument("name", required=False, shell_complete=_complete)
@click.option("--all", "every", is_flag=True, help="End every lab of this user; as root, everybody's.")
@LOG
def down(name: str | None, every: bool, log: Path | None) -> None:
    """End a lab, and all that runs in it. NAME may be left out if only one is up.

    What a CNI plugin fails to take back is told, and goes with the lab even so.
    """
    if every and name:
        raise click.UsageError("name a lab, or say --all")
    need_log(log)
    calls = ""
    for lab in LivingLab.all() if every else [the_lab(name)]:
        try:
            ending = lab.down()
        except Unanswered:
            if not every:
                with understood():
                    raise
        else:
            calls += ending.log
            for error in ending.errors:
                click.echo(f"testbed: {error}", err=True)
            click.echo(f"{lab.name} is down")
    write_log(log, calls)
