"""The option --design."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.spec.nearest import unknown
from testbed.spec.problems import Problem, SpecError

if TYPE_CHECKING:
    from testbed.designs import Design
    from testbed.spec.load import Loaded
    from testbed.spec.topology import Topology

HELP = (
    "A name from `testbed designs`, ATTACH+TRANSPORT such as routed+vxlan, a design file, or a CNI network "
    "configuration (.conflist)."
)


def chosen_for(topology: Path, text: str) -> tuple["Design", "Loaded[Topology]"]:
    """The design named on the command line and the topology in a file, which fit each other.

    Raises UsageError or SpecError with the mistakes of both.
    """
    from testbed.designs.fitting import check_design
    from testbed.spec.load import load_topology

    problems: tuple[Problem, ...] = ()
    design, usage, loaded = None, None, None
    try:
        design = chosen(text)
    except SpecError as error:
        problems += error.problems
    except click.UsageError as error:
        usage = error
    try:
        loaded = load_topology(topology)
    except SpecError as error:
        problems += error.problems
    if usage and not problems:
        raise usage
    if usage:
        problems = tuple(replace(problem, file="--design") for problem in _problems(text)) + problems
    if design is None or loaded is None:
        raise SpecError(problems)
    check_design(design, loaded, text)
    return design, loaded


def chosen(text: str) -> "Design":
    """The design named on the command line. Raises UsageError or SpecError if there is none."""
    from testbed.designs import CATALOGUE, design_of
    from testbed.spec.design import is_file, is_network
    from testbed.spec.load import load_design

    if is_file(text) or is_network(text) or (os.sep in text and Path(text).is_dir()):
        return design_of(load_design(Path(text), CATALOGUE))
    for problem in _problems(text):
        if problem.valid == CATALOGUE.names:
            raise click.UsageError(unknown("design", text, CATALOGUE.names))
        meant = f"; did you mean '{problem.nearest}'?" if problem.nearest else ";" if problem.valid else ""
        valid = f" valid: {', '.join(problem.valid)}" if problem.valid else ""
        raise click.UsageError(f"{text}: {problem.message}{meant}{valid}")
    return design_of(text)


def _problems(text: str) -> tuple[Problem, ...]:
    """Why a name is not that of a design."""
    from testbed.designs import CATALOGUE
    from testbed.spec.design import JOINED
    from testbed.spec.nearest import nearest

    problems = []
    for misfit in CATALOGUE.misfits(text):
        found = next((part for part in text.split(JOINED) if f"'{part}'" in misfit.message), text)
        problems.append(Problem("", 0, 0, misfit.message, "", found, misfit.valid, nearest(found, misfit.valid)))
    return tuple(problems)
