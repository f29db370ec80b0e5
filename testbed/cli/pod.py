"""testbed pod"""

from pathlib import Path

import click

from testbed.cli.changing import JSON, change, say
from testbed.cli.errors import WrongInput
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import complete_place, lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import NAMESPACE, carry_out


@click.group(cls=VerbGroup, epilog="Example: testbed pod add web-3 --node node2")
def pod() -> None:
    """Add a pod to a lab that is up, remove one, or open its readiness gates.

    All others keep their numbers and addresses.
    """


@pod.command(epilog="Example: testbed pod add web-3 --node node2 --label app=web")
@lab_option
@click.argument("pod")
@click.option("--node", required=True, shell_complete=complete_place, help="The node to run on.")
@click.option("--namespace", default="default", show_default=True, help="The Kubernetes namespace.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be repeated.")
@LOG
@JSON
def add(
    name: str | None, pod: str, node: str, namespace: str, labels: tuple[str, ...], log: Path | None, as_json: bool
) -> None:
    """Add POD to a node, attached like all others: by the design, or by its CNI plugins.

    The pod gets the next free address of its node. Freed addresses are recycled after all others of the node.
    """
    arguments = {"name": pod, "node": node, "namespace": namespace, "labels": dict(map(_label, labels))}
    lab, done = change(name, "pod add", arguments, log)
    say(lab, f"{pod} added to {node}", done, as_json)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise WrongInput(f"expected a label KEY=VALUE, such as app=web, found '{text}'")
    return key, value


@pod.command(epilog="Example: testbed pod remove web-3")
@lab_option
@click.argument("pod", shell_complete=complete_place)
@LOG
@JSON
def remove(name: str | None, pod: str, log: Path | None, as_json: bool) -> None:
    """Remove POD, its namespace, and the state that nodes have for it."""
    lab, done = change(name, "pod remove", {"name": pod}, log)
    say(lab, f"{pod} removed", done, as_json)


@pod.command(epilog="Example: testbed pod gate web-1 example.com/loaded true")
@lab_option
@click.argument("pod", shell_complete=complete_place)
@click.argument("gate")
@click.argument("value", type=click.BOOL)
@NAMESPACE
def gate(name: str | None, pod: str, gate: str, value: bool, namespace: str) -> None:
    """Set a readiness gate (spec.readinessGates) of POD: true or false.

    The pod is ready when all of its gates are true, and its containers are ready.
    """
    carry_out(name, "gate", pod=pod, gate=gate, is_true=value, namespace=namespace)
