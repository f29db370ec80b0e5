"""Errors as the user meets them: what is wrong and how to mend it, on standard error, with the right exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.spec.problems import SpecError

WRONG_INPUT = 2
MACHINE_LACKS = 3
INTERRUPTED = 130


class WrongInput(Exception):
    """Something that the user named cannot be used."""


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors that users can mend into their text and exit code. Others are ours and keep their traceback."""
    try:
        yield
    except SpecError as error:
        from testbed.spec.render import render_all  # What reads YAML takes longer to import than some verbs to run.

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
    except BrokenPipeError:
        # Whoever read our output has had enough of it (`testbed plan ... | head`); that is no failure.
        sys.stderr.close()
        sys.exit(0)
