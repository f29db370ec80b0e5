"""testbed node"""

from pathlib import Path

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import complete_place, lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import carry_out


@click.group(cls=VerbGroup, epilog="Example: testbed node add node3 --pods 2")
def node() -> None:
    """Add a node to a lab that is up, remove one, or keep pods off it.

    All others keep their numbers and addresses.
    """


@node.command(epilog="Example: testbed node add node3 --pod web-5 --pod web-6")
@lab_option
@click.argument("node")
@click.option("--pods", type=click.IntRange(min=0), help="Number of pods, called NODE-pod-1, ...")
@click.option("--pod", "named", multiple=True, help="Name of a pod of the node; may be repeated.")
@click.option(
    "--at", multiple=True, help="Where to connect it: a rack, leaf or site; in a fabric of links, the name of a switch."
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

    Without --at, it is placed where the fewest nodes are, or linked like the first node. Without --pods or --pod, it
    gets as many pods as the topology's `pods_per_node`.
    """
    if pods and named:
        raise click.UsageError("--pods and --pod exclude each other: give a number, or names")
    arguments = {"name": node, "pods": list(named) or pods, "at": list(at) or None}
    lab, done = change(name, "node add", arguments, log)
    say(lab, f"{node} added", done, as_json)


@node.command(epilog="Example: testbed node remove node3")
@lab_option
@click.argument("node", shell_complete=complete_place)
@LOG
@JSON
def remove(name: str | None, node: str, log: Path | None, as_json: bool) -> None:
    """Remove NODE with its pods, and the state that other nodes have for them."""
    lab, done = change(name, "node remove", {"name": node}, log)
    say(lab, f"{node} removed", done, as_json)


@node.command(epilog="Example: testbed node cordon node2")
@lab_option
@click.argument("nodes", nargs=-1, required=True, shell_complete=complete_place)
def cordon(name: str | None, nodes: tuple[str, ...]) -> None:
    """Keep new pods off NODES. Their pods stay."""
    carry_out(name, "cordon", nodes=nodes, unschedulable=True)


@node.command(epilog="Example: testbed node uncordon node2")
@lab_option
@click.argument("nodes", nargs=-1, required=True, shell_complete=complete_place)
def uncordon(name: str | None, nodes: tuple[str, ...]) -> None:
    """Allow new pods on NODES again."""
    carry_out(name, "cordon", nodes=nodes, unschedulable=False)
