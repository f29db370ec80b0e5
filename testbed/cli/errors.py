"""Errors as the user meets them: what is wrong and how to mend it, on standard error, with the right exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from testbed.experiment.results import ResultsError
from testbed.spec.problems import SpecError
from testbed.spec.render import render_all

WRONG_INPUT = 2
MACHINE_LACKS = 3
INTERRUPTED = 130


class MachineLacks(Exception):
    """This machine has not what it takes; each line names what is missing and what brings it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors that users can mend into their text and exit code. Others are ours and keep their traceback."""
    try:
        yield
    except SpecError as error:
        click.echo(render_all(error.problems), err=True)
        sys.exit(WRONG_INPUT)
    except ResultsError as error:
        click.echo(f"testbed: {error}", err=True)
        sys.exit(WRONG_INPUT)
    except MachineLacks as error:
        click.echo(f"testbed: {error}", err=True)
        sys.exit(MACHINE_LACKS)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has had enough of it (`testbed plan ... | head`); that is no failure.
        sys.stderr.close()
        sys.exit(0)
