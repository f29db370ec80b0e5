"""testbed schema"""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from testbed.spec.schema import Kind


@click.command(epilog="Example: testbed schema topology > topology.schema.json")
@click.argument("kind", type=click.Choice(["topology", "scenario", "design"]))
def schema(kind: "Kind") -> None:
    """Print the JSON Schema of topologies, scenarios or designs, for editors."""
    from testbed.spec.schema import schema_text

    click.echo(schema_text(kind), nl=False)
