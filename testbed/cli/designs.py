"""testbed designs"""

import json

import click
from rich.console import Console
from rich.table import Table

from testbed.designs import DESIGNS
from testbed.kernel import features


@click.command(epilog="Example: testbed designs")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def designs(as_json: bool) -> None:
    """List the designs: what each does, who does it so, and what it needs of the kernel."""
    here = {name: _here(design.needs) for name, design in DESIGNS.items()}
    if as_json:
        listed = [
            {
                "name": design.name,
                "summary": design.summary,
                "like": list(design.like),
                "needs": list(design.needs),
                "available": here[design.name],
            }
            for design in DESIGNS.values()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("design", "what it does", "as in", "needs", "here"):
        table.add_column(title, no_wrap=title == "design")
    for design in DESIGNS.values():
        available = {True: "yes", False: "no", None: "?"}[here[design.name]]
        table.add_row(design.name, design.summary, ", ".join(design.like), ", ".join(design.needs), available)
    Console().print(table)
    if None in here.values():
        click.echo("Whether this kernel has what they need could not be tried; `testbed doctor` says why.")


def _here(needs: tuple[str, ...]) -> bool | None:
    """Whether this kernel has all of it; None where that cannot be tried."""
    lacking = features.missing_here(needs)
    return None if lacking is None else not lacking
