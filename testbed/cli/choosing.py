"""The option --design."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.spec.nearest import unknown

if TYPE_CHECKING:
    from testbed.designs import Design

HELP = (
    "A name from `testbed designs`, ATTACH+TRANSPORT such as routed+vxlan, a design file, or a CNI network "
    "configuration (.conflist)."
)


def chosen(text: str) -> "Design":
    """The design named on the command line. Raises UsageError or SpecError if there is none."""
    from testbed.designs import CATALOGUE, design_of
    from testbed.spec.design import JOINED, is_file, is_network
    from testbed.spec.load import load_design
    from testbed.spec.nearest import nearest

    if is_file(text) or is_network(text) or (os.sep in text and Path(text).is_dir()):
        return design_of(load_design(Path(text), CATALOGUE))
    for misfit in CATALOGUE.misfits(text):
        if misfit.valid == CATALOGUE.names:
            raise click.UsageError(unknown("design", text, CATALOGUE.names))
        part = next((part for part in text.split(JOINED) if f"'{part}'" in misfit.message), "")
        close = nearest(part, misfit.valid)
        meant = f"; did you mean '{close}'?" if close else ";" if misfit.valid else ""
        valid = f" valid: {', '.join(misfit.valid)}" if misfit.valid else ""
        raise click.UsageError(f"{text}: {misfit.message}{meant}{valid}")
    return design_of(text)
