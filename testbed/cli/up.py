"""testbed up"""

import re
import sys
from pathlib import Path

import click

from testbed.cli.choosing import HELP, chosen_for
from testbed.cli.errors import WrongInput
from testbed.cli.log import LOG, need_log, write_log
from testbed.lab.living import CannotBeBuilt, LivingLab, NameTaken, facts_of

_NAME = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]{0,62}")


@click.command(epilog="Example: testbed up topologies/two-nodes.yaml --design vxlan")
@click.argument("topology", type=click.Path(path_type=Path))
@click.option("--design", required=True, metavar="DESIGN", help=HELP)
@click.option("--name", metavar="LAB", help="Name of the lab.  [default: TOPOLOGY-DESIGN, by their names]")
@click.option("--offload", type=click.Choice(["on", "off"]), default="on", show_default=True, help="TSO, GSO and GRO.")
@LOG
def up(topology: Path, design: str, name: str | None, offload: str, log: Path | None) -> None:
    """Bring a lab up. It runs until `testbed down`, even after this terminal is closed."""
    from testbed.experiment.needs import need_for_lab
    from testbed.spec.design import JOINED

    wanted, loaded = chosen_for(topology, design)
    name = name or f"{loaded.value.name}-{wanted.name.replace(JOINED, '-')}"
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"'{name}' is not a valid lab name: use letters, digits, '-', '_' and '.', at most 63")
    need_for_lab(wanted, loaded.value)
    if log and not wanted.plugins:
        raise click.UsageError(f"--log: the design {wanted.name} calls no CNI plugin")
    need_log(log)
    plan = wanted.plan(loaded.value, offload == "on")
    try:
        lab = LivingLab.bring_up(plan, name, facts_of(loaded, wanted.spec))
    except NameTaken:
        raise WrongInput(
            f"lab '{name}' is up already; choose another --name, or end that lab with `testbed down {name}`"
        ) from None
    except CannotBeBuilt as error:
        click.echo(f"testbed: {name} could not be built: {error}", err=True)
        write_log(log, error.log)
        sys.exit(1)
    write_log(log, lab.log)
    size = f"{_count(lab.facts['nodes'], 'node')}, {_count(lab.facts['pods'], 'pod')}"
    click.echo(f"{name} is up: {wanted.name}, {size}, in {_time(lab.facts['seconds'])}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
