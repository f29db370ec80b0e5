"""The option --log of several verbs: a log of the calls of CNI plugins."""

from pathlib import Path

import click

from testbed.cli.output import failure

LOG = click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append each call of a CNI plugin to FILE, as JSON.",
)


def need_log(file: Path | None) -> None:
    """Raises WrongInput if the file cannot be written; called before any work begins."""
    write_log(file, "")


def write_log(file: Path | None, text: str) -> None:
    """Appends calls, a line of JSON each, to the file, if there is one."""
    if file is None:
        return
    try:
        with file.open("a") as log:
            log.write(text)
    except OSError as error:
        raise failure(str(file), error) from None
