"""testbed cni"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from testbed.cli.errors import WrongInput
from testbed.cli.groups import VerbGroup
from testbed.cli.labs import complete_place, lab_errors, lab_option, the_lab
from testbed.cli.log import LOG, need_log, write_log
from testbed.spec.nearest import unknown

_DONE = {
    "add": "attached",
    "del": "detached",
    "check": "attachment unchanged",
    "status": "ready to attach pods",
    "gc": "no stale attachments left",
}
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(cls=VerbGroup, epilog="Example: testbed cni del web-1 && testbed cni add web-1")
def cni() -> None:
    """Call CNI plugins by hand, as the lab's container runtime does; for authors of plugins.

    Prints the input and the output of each plugin called, then the changes on the node and in the pod. Exit code 1 if
    a plugin fails.
    """


@cni.command(epilog="Example: testbed cni add web-1")
@lab_option
@click.argument("pod", shell_complete=complete_place)
@LOG
@_JSON
def add(name: str | None, pod: str, log: Path | None, as_json: bool) -> None:
    """Attach a pod: ADD, plugin by plugin in the network's order. Run `cni del` first if it is attached."""
    _do("add", name, pod, log, as_json)


@cni.command("del", epilog="Example: testbed cni del web-1")
@lab_option
@click.argument("pod", shell_complete=complete_place)
@LOG
@_JSON
def del_(name: str | None, pod: str, log: Path | None, as_json: bool) -> None:
    """Detach a pod: DEL, plugin by plugin in reverse order. May be repeated."""
    _do("del", name, pod, log, as_json)


@cni.command(epilog="Example: testbed cni check web-1")
@lab_option
@click.argument("pod", shell_complete=complete_place)
@LOG
@_JSON
def check(name: str | None, pod: str, log: Path | None, as_json: bool) -> None:
    """Have the plugins check a pod's attachment: CHECK, from CNI 0.4.0."""
    _do("check", name, pod, log, as_json)


@cni.command(epilog="Example: testbed cni status node1")
@lab_option
@click.argument("node", shell_complete=complete_place)
@LOG
@_JSON
def status(name: str | None, node: str, log: Path | None, as_json: bool) -> None:
    """Ask a node's plugins whether they can attach pods: STATUS, from CNI 1.1.0."""
    _do("status", name, node, log, as_json)


@cni.command(epilog="Example: testbed cni gc node1")
@lab_option
@click.argument("node", shell_complete=complete_place)
@LOG
@_JSON
def gc(name: str | None, node: str, log: Path | None, as_json: bool) -> None:
    """Have a node's plugins release stale attachments: GC, from CNI 1.1.0."""
    _do("gc", name, node, log, as_json)


def _do(verb: str, name: str | None, place: str, log: Path | None, as_json: bool) -> None:
    need_log(log)
    lab = the_lab(name)
    with lab_errors():
        valid = tuple(lab.facts["plug_nodes"] if verb in ("status", "gc") else lab.facts["plugged"])
        if not valid:
            raise WrongInput(f"{lab.name}: its design {lab.facts['design']} calls no CNI plugins")
        if place not in valid:
            raise WrongInput(unknown("node" if verb in ("status", "gc") else "pod", place, valid))
        step = lab.plug(verb, place)
    write_log(log, "".join(f"{json.dumps(call)}\n" for call in step["calls"]))
    if as_json:
        click.echo(json.dumps(step, indent=2))
    else:
        _print(step)
        if not step["error"]:
            click.secho(f"{place}: {_DONE[verb]}", fg="green", bold=True)
            if verb == "gc" and "GC" not in {call["command"] for call in step["calls"]}:
                click.echo("only the runtime's records were checked; plugins support GC from CNI 1.1.0")
    if step["error"] and not as_json:
        click.echo(f"testbed: {step['error']}", err=True)
    sys.exit(1 if step["error"] else 0)


def _print(step: Mapping[str, Any]) -> None:
    for call in step["calls"]:
        ended = "timed out" if call["timed_out"] else f"exit code {call['code']}"
        click.secho(f"{call['plugin']} {call['command']}: {ended}, {call['seconds'] * 1000:.0f} ms", bold=True)
        words = [f"{key}={value}" for key, value in call["environment"].items()]
        for part, lines in (
            (call["path"], words),
            ("stdin", _pretty(call["stdin"])),
            ("stdout", _pretty(call["stdout"])),
            ("stderr", call["stderr"].splitlines()),
        ):
            if lines:
                click.echo("\n".join((f"  {part}", *(f"    {line}" for line in lines))))
        click.echo()
    for place, changes in step["changes"].items():
        click.secho(place, bold=True)
        for line in _coloured(changes):
            click.echo(f"  {line}")
        click.echo()


def _pretty(text: str) -> list[str]:
    """Lines of the text, indented if it is JSON."""
    try:
        return json.dumps(json.loads(text), indent=2).splitlines()
    except ValueError:
        return text.splitlines()


def _coloured(changes: list[str]) -> Iterator[str]:
    for line in changes:
        yield click.style(line, fg="green" if line.startswith("+") else "red")
