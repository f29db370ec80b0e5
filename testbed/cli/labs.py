"""What the verbs on living labs have in common: which lab is meant, and where in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from testbed.cli.errors import WrongInput
from testbed.lab.door import Unanswered
from testbed.lab.living import LivingLab, UnknownPlace
from testbed.spec.nearest import unknown

VARIABLE = "TESTBED_LAB"
F = TypeVar("F", bound=Callable[..., Any])


def of_lab(verb: F) -> F:
    """The option by which a verb is told which lab is meant."""
    return click.option(
        "-n",
        "--name",
        envvar=VARIABLE,
        metavar="LAB",
        help=f"Which lab, if more than one is up; or set {VARIABLE}. `testbed list` names them.",
        shell_complete=_complete_lab,
    )(verb)


def complete_place(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The places of the lab that is meant, as the shell completes them."""
    try:
        places = the_lab(context.params.get("name")).facts["places"]
    except (WrongInput, Unanswered, KeyError):
        return []
    return [place for place in places if place.startswith(incomplete)]


def _complete_lab(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    return [lab.name for lab in LivingLab.all() if lab.name.startswith(incomplete)]


def the_lab(name: str | None) -> LivingLab:
    """The lab of that name, or the only one; of several users' labs of one name one's own."""
    labs = LivingLab.all()
    if name is None:
        if not labs:
            raise WrongInput("no lab is up; `testbed up TOPOLOGY --design D` brings one up")
        if len(labs) > 1:
            raise WrongInput(f"{len(labs)} labs are up: {', '.join(lab.name for lab in labs)}; say which with --name")
        return labs[0]
    found = sorted((lab for lab in labs if lab.name == name), key=lambda lab: lab.address.user != os.geteuid())
    if not found:
        names = tuple(lab.name for lab in labs)
        raise WrongInput(unknown("lab", name, names) if names else f"there is no lab '{name}'; no lab is up")
    return found[0]


@contextmanager
def understood() -> Iterator[None]:
    """Turns what a lab does not know, or does not say, into errors that a user can mend."""
    try:
        yield
    except UnknownPlace as error:
        raise WrongInput(unknown("pod or node", error.name, error.places)) from None
    except Unanswered as error:
        raise WrongInput(str(error)) from None
