"""Shared by the verbs that change a lab that is up."""

import json
from pathlib import Path
from typing import Any

import click

from testbed.cli.errors import WrongInput
from testbed.cli.labs import lab_errors, the_lab
from testbed.cli.log import need_log, write_log
from testbed.lab.living import ChangeFailed, ChangeRefused, LivingLab

JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def change(
    name: str | None, verb: str, arguments: dict[str, Any], log: Path | None
) -> tuple[LivingLab, dict[str, Any]]:
    """Changes the lab; returns it with counts of what changed. Exits with code 1 if the change fails halfway."""
    need_log(log)
    lab = the_lab(name)
    try:
        with lab_errors():
            done = lab.change(verb, **arguments)
    except ChangeRefused as error:
        raise WrongInput(str(error)) from None
    except ChangeFailed as error:
        click.echo(f"testbed: {error}\nto list what is missing: testbed inspect", err=True)
        raise SystemExit(1) from None
    finally:
        write_log(log, lab.log)
    return lab, done


def say(lab: LivingLab, what: str, done: dict[str, Any], as_json: bool) -> None:
    """Prints what changed."""
    if as_json:
        click.echo(json.dumps({"lab": lab.name, **done}, indent=2))
        return
    objects, spaces = done["changes"], done["spaces"]
    click.echo(
        f"{what} ({objects} change{'s' if objects != 1 else ''} in {spaces} place{'s' if spaces != 1 else ''}, "
        f"{done['seconds'] * 1000:.0f} ms)"
    )
