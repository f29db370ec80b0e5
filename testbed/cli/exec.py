"""testbed exec, and the verbs that are a shorter way to say it"""

from collections.abc import Sequence

import click

from testbed.cli.labs import complete_place, of_lab, the_lab, understood
from testbed.cli.quick import environment_of

_REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("exec", context_settings=_REST, epilog="Example: testbed exec client -- ping -c 3 web-2")
@of_lab
@click.argument("target", shell_complete=complete_place)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def exec_(name: str | None, target: str, command: tuple[str, ...]) -> None:
    """Run a command in a pod, or on a node, the gateway or the fabric's switch.

    It has this terminal, this folder and this user's files; signals and its exit code are passed on. Pods and nodes are
    known by their names.
    """
    become(name, target, command)


def become(name: str | None, target: str, command: Sequence[str]) -> None:
    """Puts a program of a lab in this process's place."""
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("say which command: testbed exec TARGET -- COMMAND")
    lab = the_lab(name)
    with understood():
        lab.replace_process(target, command, environment_of(lab, target))
