"""testbed graph"""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.choosing import HELP, chosen_for
from testbed.cli.errors import WrongInput
from testbed.cli.labs import lab_errors, lab_option, the_lab
from testbed.cli.output import write_file
from testbed.spec.nearest import unknown

if TYPE_CHECKING:
    from testbed.plan.objects import Plan

FORMATS = ("svg", "png", "pdf", "dot")


@click.command(epilog="Example: testbed graph -o lab.svg")
@lab_option
@click.argument("topology", type=click.Path(path_type=Path), required=False)
@click.option("--design", metavar="DESIGN", help=f"Design of TOPOLOGY. {HELP}")
@click.option(
    "-o",
    "file",
    type=click.Path(path_type=Path),
    help=f"Output file: file.{', file.'.join(FORMATS)}. An existing one is replaced.",
)
def graph(name: str | None, topology: Path | None, design: str | None, file: Path | None) -> None:
    """Draw a lab, or a topology under a design: nodes, pods, devices, addresses, routes, tunnels.

    Without -o, print the source for Graphviz.
    """
    from testbed.kernel import programs
    from testbed.plan.graph import dot

    kind = file.suffix.removeprefix(".") if file else "dot"
    if kind not in FORMATS:
        raise WrongInput(unknown("picture format", kind, FORMATS))
    if kind != "dot":
        programs.need("dot")
    text = dot(_plan(name, topology, design))
    if file is None:
        click.echo(text, nl=False)
        return
    click.echo(write_file(file, text.encode() if kind == "dot" else _drawn(text, kind)))


def _plan(name: str | None, topology: Path | None, design: str | None) -> "Plan":
    """The plan of the topology if one is given, otherwise of the lab."""
    if topology is None:
        if design is not None:
            raise click.UsageError("--design requires TOPOLOGY; omit both to draw a lab")
        with lab_errors():
            return the_lab(name).plan
    if design is None:
        raise click.UsageError("TOPOLOGY requires --design, such as --design vxlan")
    wanted, loaded = chosen_for(topology, design)
    return wanted.plan(loaded.value)


def _drawn(text: str, kind: str) -> bytes:
    return subprocess.run(["dot", f"-T{kind}"], input=text.encode(), capture_output=True, check=True).stdout
