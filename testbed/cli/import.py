"""testbed import"""

from pathlib import Path

import click

from testbed.cli.errors import WrongInput


@click.command("import", epilog="Example: testbed import kind-config.yaml -o topologies/mine.yaml")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Output file.  [default: print]")
def import_(file: Path, output: Path | None) -> None:
    """Convert a kind cluster configuration or a containerlab topology, and list what was left out.

    kind's nodes become nodes of one subnet. containerlab's containers of kind linux become nodes, bridges become
    switches, and all others, which run a router's system, become routers with static routes.
    """
    from testbed.spec.foreign import imported
    from testbed.spec.load import topology_of_text
    from testbed.spec.source import read_source

    found = imported(read_source(file))
    text = found.text(file.name)
    topology_of_text(text, str(output or file))
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            with output.open("x") as opened:
                opened.write(text)
        except FileExistsError:
            raise WrongInput(f"{output} exists already, and is not overwritten") from None
        except OSError as error:
            raise WrongInput(f"{output} cannot be written: {error.strerror}") from None
    for line in found.left_out:
        click.echo(f"left out: {line}", err=True)
