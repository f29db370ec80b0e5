"""What the verbs that change a living lab have in common."""

import json
from pathlib import Path
from typing import Any

import click

from testbed.cli.errors import WrongInput
from testbed.cli.labs import the_lab, understood
from testbed.cli.log import need_log, write_log
from testbed.lab.living import ChangeFailed, ChangeRefused, LivingLab

JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def change(
    name: str | None, verb: str, arguments: dict[str, Any], log: Path | None
) -> tuple[LivingLab, dict[str, Any]]:
    """Has the lab change, and returns it with how much has changed; exit code 1 if that fails on the way."""
    need_log(log)
    lab = the_lab(name)
    try:
        with understood():
            done = lab.change(verb, **arguments)
    except ChangeRefused as error:
        raise WrongInput(str(error)) from None
    except ChangeFailed as error:
        click.echo(f"testbed: {error}\nwhat is missing now: testbed inspect", err=True)
        raise SystemExit(1) from None
    finally:
        write_log(log, lab.log)
    return lab, done


def say(lab: LivingLab, what: str, done: dict[str, Any], as_json: bool) -> None:
    """Tells what was done."""
    if as_json:
        click.echo(json.dumps({"lab": lab.name, **done}, indent=2))
        return
    objects, spaces = done["changes"], done["spaces"]
    click.echo(
        f"{what} ({objects} change{'s' if objects != 1 else ''} in {spaces} place{'s' if spaces != 1 else ''}, "
        f"{done['seconds'] * 1000:.0f} ms)"
    )
