"""Shared by the verbs on labs that are up: the option --lab, completion of places, errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from testbed.cli.errors import WrongInput
from testbed.lab.door import Unanswered
from testbed.lab.living import CommandRefused, LivingLab, UnknownPlace
from testbed.spec.nearest import unknown

VARIABLE = "TESTBED_LAB"
F = TypeVar("F", bound=Callable[..., Any])


def lab_option(verb: F) -> F:
    """Adds the option --lab, which selects a lab."""
    return click.option(
        "--lab",
        "name",
        envvar=VARIABLE,
        metavar="LAB",
        help=f"The lab, if more than one is up (see `testbed list`); or set {VARIABLE}.",
        shell_complete=_complete_lab,
    )(verb)


NAMESPACE_OF_POD = click.option(
    "-n",
    "--namespace",
    default="",
    metavar="NAMESPACE",
    help="The namespace of the pod.  [default: default]",
)


def complete_place(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The places of the selected lab, for completion by the shell."""
    try:
        places = the_lab(context.params.get("name")).facts["places"]
    except (WrongInput, Unanswered, KeyError):
        return []
    return [place for place in places if place.startswith(incomplete)]


def _complete_lab(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    return [lab.name for lab in LivingLab.all() if lab.name.startswith(incomplete)]


def the_lab(name: str | None, remedy: str = "select one with --lab") -> LivingLab:
    """The lab of that name, or the only one. This user's own if other users have labs of that name.

    Raises WrongInput, with the remedy if several are up.
    """
    labs = LivingLab.all()
    if name is None:
        if not labs:
            raise WrongInput("no lab is up; `testbed up TOPOLOGY --design D` brings one up")
        if len(labs) > 1:
            raise WrongInput(f"{len(labs)} labs are up: {', '.join(lab.name for lab in labs)}; {remedy}")
        return labs[0]
    found = sorted((lab for lab in labs if lab.name == name), key=lambda lab: lab.address.user != os.geteuid())
    if not found:
        names = tuple(lab.name for lab in labs)
        raise WrongInput(unknown("lab", name, names) if names else f"unknown lab '{name}'; no lab is up")
    return found[0]


@contextmanager
def lab_errors() -> Iterator[None]:
    """Turns UnknownPlace, CommandRefused and Unanswered into WrongInput."""
    try:
        yield
    except UnknownPlace as error:
        raise WrongInput(unknown("pod or node", error.name, error.places)) from None
    except (CommandRefused, Unanswered) as error:
        raise WrongInput(str(error)) from None
