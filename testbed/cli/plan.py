"""testbed plan"""

import json
from pathlib import Path

import click

from testbed.cli.choosing import HELP, chosen_for


@click.command(epilog="Example: testbed plan topologies/two-nodes.yaml --design vxlan")
@click.argument("topology", type=click.Path(path_type=Path))
@click.option("--design", required=True, metavar="DESIGN", help=HELP)
@click.option(
    "--format",
    "form",
    type=click.Choice(["sh", "json"]),
    default="sh",
    show_default=True,
    help="Shell commands, or data.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def plan(topology: Path, design: str, form: str, as_json: bool) -> None:
    """Print every kernel object that a design puts into each namespace. Builds nothing, needs no root."""
    wanted, loaded = chosen_for(topology, design)
    made = wanted.plan(loaded.value)
    if as_json or form == "json":
        from testbed.plan.codec import to_data

        click.echo(json.dumps(to_data(made), indent=2))
    else:
        from testbed.plan.shell import script

        click.echo(script(made), nl=False)
