"""The option --design: which design a verb is about."""

from pathlib import Path

import click

from testbed.cli.errors import unknown
from testbed.designs import CATALOGUE, DESIGNS, Design, design_of
from testbed.spec.design import is_file
from testbed.spec.load import load_design

HELP = f"Which design: {', '.join(DESIGNS)}; ATTACH+TRANSPORT, such as routed+vxlan; or a file that spells one out."


def chosen(text: str) -> Design:
    """The design that a user named on the command line; UsageError or SpecError if there is none."""
    if is_file(text):
        return design_of(load_design(Path(text), CATALOGUE))
    for misfit in CATALOGUE.misfits(text):
        if misfit.valid == CATALOGUE.names:
            raise click.UsageError(unknown("design", text, CATALOGUE.names))
        valid = f"; valid: {', '.join(misfit.valid)}" if misfit.valid else ""
        raise click.UsageError(f"{text}: {misfit.message}{valid}")
    return design_of(text)
