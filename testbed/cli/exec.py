"""testbed exec, and what its shorthands share"""

from collections.abc import Sequence

import click

from testbed.cli.labs import NAMESPACE_OF_POD, complete_place, lab_errors, lab_option, the_lab
from testbed.cli.quick import environment_of

_WITH_VALUE = ("--lab", "-n", "--namespace", "-c", "--container")
_REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}


class _OptionsAfterTarget(click.Command):
    """Takes options between TARGET and the command too, like kubectl: `exec web-1 -c web -- env`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = _options_in(args)
        second = _options_in(args[first + 1 :])
        after = args[first + 1 : first + 1 + second]
        return super().parse_args(ctx, [*args[:first], *after, *args[first : first + 1], *args[first + 1 + second :]])


def _options_in(words: Sequence[str]) -> int:
    """How many of the first words are options and their values."""
    number = 0
    while number < len(words) and words[number].startswith("-") and words[number] not in ("-", "--"):
        has_value = words[number] in _WITH_VALUE
        number += 2 if has_value else 1
    return min(number, len(words))


@click.command(
    "exec", cls=_OptionsAfterTarget, context_settings=_REST, epilog="Example: testbed exec client -- ping -c 3 web-2"
)
@lab_option
@NAMESPACE_OF_POD
@click.option(
    "-c",
    "--container",
    default="",
    metavar="NAME",
    help="The container whose variables the command gets.  [default: the pod's first]",
)
@click.option("-i", "--stdin", is_flag=True, hidden=True, help="Always so; accepted as kubectl has it.")
@click.option("-t", "--tty", is_flag=True, hidden=True, help="Always so; accepted as kubectl has it.")
@click.argument("target", shell_complete=complete_place)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def exec_(name: str | None, namespace: str, container: str, target: str, command: tuple[str, ...], **_: bool) -> None:
    """Run a command in a pod, on a node, on the gateway or on the fabric's switch.

    TARGET can also be what made pods, such as deployment/web. The command uses this terminal, this folder and this
    user's files; signals and its exit code are passed on. Names of pods and nodes resolve.
    """
    become(name, target, command, namespace, container)


def become(name: str | None, target: str, command: Sequence[str], namespace: str = "", container: str = "") -> None:
    """Replaces this process by a command in a place of a lab, with the variables of a container, if it is a pod."""
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("COMMAND is missing: testbed exec TARGET -- COMMAND")
    lab = the_lab(name)
    with lab_errors():
        lab.replace_process(target, command, environment_of(lab, target), namespace, container)
