"""testbed node"""

import time
from pathlib import Path
from typing import Any

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import complete_place, lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import SELECTOR, carry_out

AGAIN_S = 5.0
"""Time after which kubectl asks again for an eviction that was refused."""
MOST_S = 3600.0


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


@node.command(epilog="Example: testbed node drain node2 --ignore-daemonsets --force")
@lab_option
@click.argument("node", shell_complete=complete_place)
@SELECTOR
@click.option("--ignore-daemonsets", is_flag=True, help="Leave pods of DaemonSets where they are.")
@click.option("--force", is_flag=True, help="Evict pods that no controller would replace too.")
@click.option("--delete-emptydir-data", is_flag=True, help="Evict pods with emptyDir volumes too.")
@click.option("--disable-eviction", is_flag=True, help="Do not ask PodDisruptionBudgets.")
@click.option("--grace-period", "grace", type=click.IntRange(min=-1), default=-1, help="Seconds for pods to end.")
@click.option("--timeout", type=click.FloatRange(0, MOST_S), default=120.0, show_default=True, help="Seconds to wait.")
def drain(name: str | None, node: str, selector: str, grace: int, timeout: float, **options: bool) -> None:
    """Evict the pods of NODE, and keep new ones off it, as kubectl drain does.

    Waits until they are gone. A PodDisruptionBudget may keep a pod until another one is ready.
    """
    end = time.monotonic() + timeout
    while True:
        left = max(0.0, end - time.monotonic())
        given: dict[str, Any] = {"grace": None if grace < 0 else grace, **options}
        _, done = carry_out(name, "drain", node=node, selector=selector, await_s=left, **given)
        if not done["blocked"] and not done.get("left"):
            click.echo(f"node/{node} drained")
            return
        for line in done["blocked"]:
            click.echo(line, err=True)
        if time.monotonic() + AGAIN_S > end:
            click.echo(f"testbed: node/{node} is not drained after {timeout:g} s", err=True)
            raise SystemExit(1)
        time.sleep(AGAIN_S)
