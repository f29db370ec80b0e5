"""Shared by the verbs on the Kubernetes objects of a lab: their options, and what they print."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from testbed.cli.labs import lab_errors, the_lab
from testbed.cli.log import need_log, write_log
from testbed.cli.manifests import skipped_lines
from testbed.lab.living import ChangeFailed, LivingLab

SCHEDULING = ("apply", "scale")
"""Verbs that make new pods, and print why some of them cannot run."""

F = TypeVar("F", bound=Callable[..., Any])

NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, help="The Kubernetes namespace.", metavar="NAMESPACE"
)
ALL_NAMESPACES = click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
SELECTOR = click.option(
    "-l", "--selector", default="", metavar="SELECTOR", help="Objects with these labels: app=web,tier."
)
FILES = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A manifest, or a folder of manifests; - reads standard input. May be repeated.",
)


def carry_out(
    name: str | None,
    verb: str,
    log: Path | None = None,
    files: tuple[Path, ...] = (),
    quiet: bool = False,
    **arguments: Any,
) -> tuple[LivingLab, dict[str, Any]]:
    """Changes the Kubernetes objects of a lab, and prints what became of each, unless `quiet`.

    Returns the lab and its answer.

    Raises WrongInput and SpecError, with nothing changed. Exits with code 1 if a part could not be done.
    """
    from testbed.lab.manifests import Texts, texts_of  # Slow to load.

    need_log(log)
    given = texts_of(files) if files else Texts((), ())
    lab = the_lab(name)
    try:
        with lab_errors():
            done = lab.command(verb, given.texts, **arguments)
    except ChangeFailed as error:
        for line in error.lines:
            click.echo(line)
        click.echo(f"testbed: {error}\nto list what is missing: testbed inspect", err=True)
        raise SystemExit(1) from None
    finally:
        write_log(log, lab.log)
    for line in (*done["remarks"], *skipped_lines(given.skipped)):
        click.echo(line, err=True)
    for line in () if quiet else done["lines"]:
        click.echo(line)
    for line in done["pending"] if verb in SCHEDULING else ():
        click.echo(line, err=True)
    for line in done["errors"]:
        click.echo(f"testbed: {line}", err=True)
    if done["errors"]:
        raise SystemExit(1)
    return lab, done


def changes_of(words: tuple[str, ...]) -> tuple[list[str], dict[str, str | None]]:
    """The words of a command that name objects, and those that set (`key=value`) or remove (`key-`) something."""
    objects = [word for word in words if "=" not in word and not word.endswith("-")]
    changes: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            changes[key] = value
        elif word.endswith("-"):
            changes[word[:-1]] = None
    if not changes:
        raise click.UsageError("nothing to change; write KEY=VALUE, or KEY- to remove one")
    return objects, changes
