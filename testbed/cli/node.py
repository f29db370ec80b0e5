"""testbed node"""

from pathlib import Path

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import complete_place, of_lab
from testbed.cli.log import LOG


@click.group(cls=VerbGroup, epilog="Example: testbed node add node3 --pods 2")
def node() -> None:
    """Add a node to a lab that is up, or remove one. Nobody else's numbers and addresses change."""


@node.command(epilog="Example: testbed node add node3 --pod web-5 --pod web-6")
@of_lab
@click.argument("node")
@click.option("--pods", type=click.IntRange(min=0), help="How many pods it has: NODE-pod-1, ...")
@click.option("--pod", "named", multiple=True, help="A pod that it has, by name; may be repeated.")
@click.option(
    "--at", multiple=True, help="Where it is plugged in: a rack, leaf or site; of a fabric of links by name a switch."
)
@LOG
@JSON
def add(
    name: str | None,
    node: str,
    pods: int | None,
    named: tuple[str, ...],
    at: tuple[str, ...],
    log: Path | None,
    as_json: bool,
) -> None:
    """Add NODE to the fabric, with its pods.

    Without --at it is where the fewest nodes are, or linked as the first node is. Without --pods or --pod it has as
    many pods as the topology's `pods_per_node` says.
    """
    if pods and named:
        raise click.UsageError("say how many pods with --pods, or name them with --pod")
    arguments = {"name": node, "pods": list(named) or pods, "at": list(at) or None}
    lab, done = change(name, "node add", arguments, log)
    say(lab, f"{node} is up", done, as_json)


@node.command(epilog="Example: testbed node remove node3")
@of_lab
@click.argument("node", shell_complete=complete_place)
@LOG
@JSON
def remove(name: str | None, node: str, log: Path | None, as_json: bool) -> None:
    """Remove NODE with its pods, and all that others have for them."""
    lab, done = change(name, "node remove", {"name": node}, log)
    say(lab, f"{node} is gone", done, as_json)
