"""Errors as the user sees them: what is wrong and how to fix it, on standard error, with an exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.spec.problems import SpecError

WRONG_INPUT = 2
MACHINE_LACKS = 3
OUTPUT_FAILED = 4
INTERRUPTED = 130


class WrongInput(Exception):
    """The user's input cannot be used."""


class OutputFailed(Exception):
    """Output cannot be written: the disk is full, or standard output closed."""


class ReaderGone(Exception):
    """The reader of our output has closed it (`testbed plan ... | head`): not a failure."""


@contextmanager
def printed_errors() -> Iterator[None]:
    """Prints errors that users can fix, and exits with their code. Others are bugs and keep their traceback."""
    try:
        yield
    except SpecError as error:
        from testbed.spec.render import render_all  # Takes longer to import than some verbs to run.

        click.echo(render_all(error.problems), err=True)
        sys.exit(WRONG_INPUT)
    except (WrongInput, PluginNowhere) as error:
        click.echo(f"testbed: {error}", err=True)
        sys.exit(WRONG_INPUT)
    except MachineLacks as error:
        click.echo(f"testbed: {error}", err=True)
        sys.exit(MACHINE_LACKS)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except OutputFailed as error:
        click.echo(f"testbed: {error}", err=True)
        sys.exit(OUTPUT_FAILED)
    except ReaderGone:
        sys.exit(0)
