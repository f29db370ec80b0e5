"""testbed graph"""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.choosing import HELP, chosen
from testbed.cli.errors import WrongInput
from testbed.cli.labs import of_lab, the_lab, understood
from testbed.spec.nearest import unknown

if TYPE_CHECKING:
    from testbed.plan.objects import Plan

FORMATS = ("svg", "png", "pdf", "dot")


@click.command(epilog="Example: testbed graph -o lab.svg")
@of_lab
@click.argument("topology", type=click.Path(path_type=Path), required=False)
@click.option("--design", metavar="DESIGN", help=f"Of a topology that is not up. {HELP}")
@click.option("-o", "file", type=click.Path(path_type=Path), help=f"What to write: a file.{', file.'.join(FORMATS)}.")
def graph(name: str | None, topology: Path | None, design: str | None, file: Path | None) -> None:
    """Draw a lab, or what a topology would be under a design: nodes, pods, devices, addresses, routes, tunnels.

    Without -o it is printed in the language of Graphviz.
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
    try:
        file.write_bytes(text.encode() if kind == "dot" else _drawn(text, kind))
    except OSError as error:
        raise WrongInput(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {file}")


def _plan(name: str | None, topology: Path | None, design: str | None) -> "Plan":
    """Of the topology, if one is given, otherwise of the lab."""
    if topology is None:
        if design is not None:
            raise click.UsageError("--design says how to draw a topology: name one, or leave it away to draw a lab")
        with understood():
            return the_lab(name).plan
    if design is None:
        raise click.UsageError("a topology is drawn under a design: --design, such as vxlan")
    from testbed.designs.fitting import check_design
    from testbed.spec.load import load_topology

    wanted = chosen(design)
    loaded = load_topology(topology)
    check_design(wanted, loaded)
    return wanted.plan(loaded.value)


def _drawn(text: str, kind: str) -> bytes:
    return subprocess.run(["dot", f"-T{kind}"], input=text.encode(), capture_output=True, check=True).stdout
