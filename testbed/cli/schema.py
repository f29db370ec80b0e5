"""testbed schema"""

import click

from testbed.spec.schema import Kind, schema_text


@click.command(epilog="Example: testbed schema topology > topology.schema.json")
@click.argument("kind", type=click.Choice(["topology", "scenario", "design"]))
def schema(kind: Kind) -> None:
    """Print the JSON Schema of topologies, scenarios or designs, for editors."""
    click.echo(schema_text(kind), nl=False)
