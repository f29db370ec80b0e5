"""testbed exec, and what its shorthands share"""

from collections.abc import Sequence

import click

from testbed.cli.labs import NAMESPACE_OF_POD, complete_place, lab_errors, lab_option, the_lab
from testbed.cli.quick import environment_of

_REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("exec", context_settings=_REST, epilog="Example: testbed exec client -- ping -c 3 web-2")
@lab_option
@NAMESPACE_OF_POD
@click.argument("target", shell_complete=complete_place)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def exec_(name: str | None, namespace: str, target: str, command: tuple[str, ...]) -> None:
    """Run a command in a pod, on a node, on the gateway or on the fabric's switch.

    TARGET can also be what made pods, such as deployment/web. The command uses this terminal, this folder and this
    user's files; signals and its exit code are passed on. Names of pods and nodes resolve.
    """
    become(name, target, command, namespace)


def become(name: str | None, target: str, command: Sequence[str], namespace: str = "") -> None:
    """Replaces this process by a command in a place of a lab."""
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("COMMAND is missing: testbed exec TARGET -- COMMAND")
    lab = the_lab(name)
    with lab_errors():
        lab.replace_process(target, command, environment_of(lab, target), namespace)
