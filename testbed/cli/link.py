"""testbed link"""

from pathlib import Path

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.errors import WrongInput
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import of_lab
from testbed.cli.log import LOG


@click.group(cls=VerbGroup, epilog="Example: testbed link set node1,fabric rate=100Mbit")
def link() -> None:
    """Change the links of a lab that is up."""


@link.command("set", epilog="Example: testbed link set node1,fabric delay=10ms loss=1%")
@of_lab
@click.argument("ends")
@click.argument("qualities", nargs=-1, required=True, metavar="KEY=VALUE...")
@LOG
@JSON
def set_(name: str | None, ends: str, qualities: tuple[str, ...], log: Path | None, as_json: bool) -> None:
    """Give the link between two places other qualities.

    ENDS are two places: `node1,fabric` for both directions, `node1>fabric` for what goes from the first to the second.
    Keys and values are those of a topology file: rate, queue, delay, jitter, loss, duplicate, reorder, mtu, offload.
    A key without a value (`rate=`) takes away what the link has of its own.
    """
    lab, done = change(name, "link set", {"ends": ends, **dict(map(_quality, qualities))}, log)
    say(lab, f"the link {ends} is changed", done, as_json)


def _quality(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not equals:
        raise WrongInput(f"a quality is KEY=VALUE, such as rate=100Mbit, not '{text}'")
    return key, value or None
