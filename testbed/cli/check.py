"""testbed check"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from testbed.cli.labs import lab_errors, lab_option, the_lab

if TYPE_CHECKING:
    from testbed.kernel.refusal import Namespaces
    from testbed.observe.verdict import Verdict


@click.command(epilog="Example: testbed check")
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check(name: str | None, as_json: bool) -> None:
    """Check every pair of pods and nodes against the Kubernetes network model; exit code 1 if any fails.

    Over TCP, UDP and ICMP, in each family that both have, the right target must answer, and must see the source's own
    address. Between each two nodes, the largest packet that pods may send must pass, and no larger one, and messages
    that are larger must come back over UDP, TCP and, if the kernel has it, SCTP. Every port of a container that runs
    must answer. For failing pairs, a packet is traced to find the cause.
    """
    lab = the_lab(name)
    with lab_errors():
        from testbed.observe.check import check as check_lab
        from testbed.observe.served import Expected

        plan, topology, design, ended = lab.plan, lab.topology, lab.design, lab.ended()
        expected = Expected.of(lab.reachable())

        def work(namespaces: "Namespaces") -> "Verdict":
            with progress() as show:
                return check_lab(design, topology, plan, namespaces, ended, show, expected)

        verdict = lab.inside(work)
    if as_json:
        click.echo(json.dumps(asdict(verdict), indent=2))
    else:
        _print(verdict, {space.name: space.home for space in plan.spaces})
    sys.exit(0 if verdict.is_good else 1)


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal (standard error); nothing elsewhere. Called with what is being done, and the share done."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Drawn by this thread alone: the check forks.
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=1)

        def show(what: str, done: float) -> None:
            bar.update(task, description=what, completed=done, refresh=True)

        yield show


def _print(verdict: "Verdict", homes: dict[str, str]) -> None:
    from testbed.observe.verdict import count, details, matrix_text, unasked

    click.echo(matrix_text(verdict, homes))
    click.echo()
    for line in unasked(verdict):
        click.echo(line)
    click.secho(count(verdict), fg="green" if verdict.is_good else "red", bold=True)
    for line in details(verdict):
        click.echo(line)
