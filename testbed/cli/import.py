"""testbed import"""

import os
from pathlib import Path

import click

from testbed.cli.errors import WrongInput

SCHEMA = Path(__file__).parents[2] / "schemas" / "topology.json"


@click.command("import", epilog="Example: testbed import kind-config.yaml -o topologies/mine.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Output file.  [default: print]")
def import_(file: Path, output: Path | None) -> None:
    """Convert a kind cluster configuration or a containerlab topology, and list what was left out.

    kind's nodes become nodes of one subnet. Of containerlab's containers, hosts and the nodes of kind clusters become
    nodes, bridges become switches, and containers that forward become routers with static routes. An existing file is
    not overwritten.
    """
    from testbed.spec.foreign import import_file
    from testbed.spec.render import one_line

    found = import_file(file, os.environ)
    if output is None:
        click.echo(found.text(file.name), nl=False)
    else:
        try:
            with output.open("x") as opened:
                opened.write(found.text(file.name, _schema_from(output)))
        except FileExistsError:
            raise WrongInput(f"{output} exists already, and is not overwritten") from None
        except OSError as error:
            raise WrongInput(f"{output} cannot be written: {error.strerror}") from None
    for part in found.added:
        click.echo(one_line(part), err=True)
    for part in found.left_out:
        click.echo(one_line(part, "left out: "), err=True)
    if output is not None:
        click.echo(f"wrote {output}")


def _schema_from(output: Path) -> str | None:
    """The path of the schema from a file's folder, for editors; None if the schema is not installed."""
    return os.path.relpath(SCHEMA, output.absolute().parent) if SCHEMA.exists() else None
