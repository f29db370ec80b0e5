"""testbed list"""

import json
import pwd
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from testbed.lab.door import Unanswered
from testbed.lab.living import LivingLab

_HEADINGS = ("lab", "design", "topology", "nodes", "pods", "up since (UTC)", "user")


@click.command("list", epilog="Example: testbed list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the labs that are up: those of this user; as root, of all users."""
    found = [facts for lab in LivingLab.all() if (facts := _facts(lab))]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("No lab is up; `testbed up TOPOLOGY --design D` brings one up.")
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in _HEADINGS:
            table.add_column(heading, no_wrap=heading == "lab")
        for facts in found:
            since = facts["since"].replace("T", " ")[:16] if facts["since"] else facts["state"]
            counts = (str(facts["nodes"]), str(facts["pods"])) if facts["since"] else ("", "")
            table.add_row(facts["lab"], facts["design"], facts["topology"], *counts, since, facts["user"])
        Console().print(table)


def _facts(lab: LivingLab) -> dict[str, Any] | None:
    """Facts of a lab; None if it is going down, or if another program answers under its name."""
    try:
        return _row(lab, lab.facts)
    except (Unanswered, KeyError, TypeError, ValueError):
        return None


def _row(lab: LivingLab, facts: dict[str, Any]) -> dict[str, Any]:
    started = facts.get("started")
    return {
        "lab": lab.name,
        "design": facts["design"],
        "topology": facts["topology"],
        "topology_file": facts["topology_file"],
        "state": facts["state"],
        "nodes": facts["nodes"],
        "pods": facts["pods"],
        "since": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds") if started else None,
        "user": _user(lab.address.user),
    }


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
