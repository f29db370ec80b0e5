"""testbed link"""

from pathlib import Path

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.errors import WrongInput
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import lab_option
from testbed.cli.log import LOG


@click.group(cls=VerbGroup, epilog="Example: testbed link set node1,fabric rate=100Mbit")
def link() -> None:
    """Change the links of a lab that is up."""


@link.command("set", epilog="Example: testbed link set node1,fabric delay=10ms loss=1%")
@lab_option
@click.argument("ends")
@click.argument("qualities", nargs=-1, required=True, metavar="KEY=VALUE...")
@LOG
@JSON
def set_(name: str | None, ends: str, qualities: tuple[str, ...], log: Path | None, as_json: bool) -> None:
    """Set qualities of the link between two places.

    ENDS are two places: `node1,fabric` for both directions, `node1>fabric` for packets from the first to the second.
    Keys and values are those of a topology file: rate, queue, delay, jitter, loss, duplicate, reorder, mtu, offload.
    A key without a value (`rate=`) removes the link's own value.
    """
    lab, done = change(name, "link set", {"ends": ends, **dict(map(_quality, qualities))}, log)
    say(lab, f"link {ends} changed", done, as_json)


def _quality(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not equals:
        raise WrongInput(f"expected KEY=VALUE, such as rate=100Mbit, found '{text}'")
    return key, value or None
