"""testbed check"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from testbed.cli.labs import lab_errors, lab_option, the_lab

if TYPE_CHECKING:
    from testbed.kernel.refusal import Namespaces
    from testbed.observe.check import Verdict

MOST_PLACES = 20
"""In a matrix of pods and nodes; larger labs get a matrix of nodes."""
MOST_PAIRS = 6


@click.command(epilog="Example: testbed check")
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check(name: str | None, as_json: bool) -> None:
    """Check every pair of pods and nodes against the Kubernetes network model; exit code 1 if any fails.

    Over TCP, UDP and ICMP, in each family that both have, the right target must answer, and must see the source's own
    address. Between each two nodes, the largest packet that pods may send must pass, and no larger one, and messages
    that are larger must come back over UDP, TCP and, if the kernel has it, SCTP. For failing pairs, a packet is traced
    to find the cause.
    """
    lab = the_lab(name)
    with lab_errors():
        from testbed.observe.check import check as check_lab

        plan, topology, design, ended = lab.plan, lab.topology, lab.design, lab.ended()

        def work(namespaces: "Namespaces") -> "Verdict":
            with progress() as show:
                return check_lab(design, topology, plan, namespaces, ended, show)

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
    click.echo(_matrix(verdict, homes))
    passed = verdict.asked - len(verdict.failures) - len(verdict.astray)
    good = verdict.is_good
    click.echo(f"\nnot asked: {', '.join(verdict.unasked)}")
    click.secho(f"{passed} of {verdict.asked} checks passed", fg="green" if good else "red", bold=True)
    for line in verdict.ended:
        click.echo(f"\n{line}")
    for cause in verdict.causes:
        pairs = [f"{source} → {target}" for source, target in cause.pairs]
        more = f" and {len(pairs) - MOST_PAIRS} more" if len(pairs) > MOST_PAIRS else ""
        click.echo(f"\n{', '.join(pairs[:MOST_PAIRS])}{more}\n    {cause.reason}")
    explained = {pair for cause in verdict.causes for pair in cause.pairs}
    rest = [failure for failure in verdict.failures if (failure.source, failure.target) not in explained]
    if rest:
        click.echo()
    for failure in rest[:MOST_PAIRS]:
        pair = [
            failure.source,
            *((f"→ {failure.target} {failure.protocol}",) if failure.target != failure.source else ()),
        ]
        click.echo(f"{' '.join(pair)}: {failure.what}")
    if len(rest) > MOST_PAIRS:
        click.echo(f"and {len(rest) - MOST_PAIRS} more")
    for line in verdict.astray[:MOST_PAIRS]:
        click.echo(line)


def _matrix(verdict: "Verdict", homes: dict[str, str]) -> str:
    """Rows are sources, columns are targets."""
    from testbed.observe.check import matrix

    cells = matrix(verdict)
    places = verdict.places
    if len(places) <= MOST_PLACES:
        signs = {pair: _sign(failed) for pair, failed in cells.items()}
    else:
        failed_between = Counter((homes[a], homes[b]) for (a, b), failed in cells.items() if failed)
        places = tuple(dict.fromkeys(homes[place] for place in places))
        signs = {(a, b): str(failed_between[a, b] or "✓") for a in places for b in places}
    width = max(map(len, places))
    lines = [" " * width + "  " + " ".join(f"{place:>{max(len(place), 3)}}" for place in places)]
    for source in places:
        row = " ".join(f"{signs.get((source, target), '·'):>{max(len(target), 3)}}" for target in places)
        lines.append(f"{source:{width}}  {row}")
    return "\n".join(lines)


def _sign(failed: str) -> str:
    from testbed.observe.questions import PROTOCOLS

    return {"": "✓", " ".join(PROTOCOLS): "✗"}.get(failed, failed)
