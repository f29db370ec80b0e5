"""The log of calls of CNI plugins, which several verbs write."""

from pathlib import Path

import click

from testbed.cli.errors import WrongInput

LOG = click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add each call of a CNI plugin to it, as JSON.",
)


def need_log(file: Path | None) -> None:
    """Raises WrongInput, before anything is begun, if the file cannot be written."""
    write_log(file, "")


def write_log(file: Path | None, text: str) -> None:
    """Adds calls, a line of JSON each, to a file, if one is named."""
    if file is None:
        return
    try:
        with file.open("a") as log:
            log.write(text)
    except OSError as error:
        raise WrongInput(f"{file} cannot be written: {error.strerror}") from None
