"""testbed trace"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.errors import WrongInput
from testbed.cli.labs import complete_place, lab_errors, lab_option, the_lab
from testbed.cli.output import write_file
from testbed.observe.ports import TRACE_PORT

if TYPE_CHECKING:
    from testbed.observe.shots import Protocol
    from testbed.observe.trace import Hop, Walk


@click.command(epilog="Example: testbed trace client web-2 --protocol tcp --port 80")
@lab_option
@click.argument("source", metavar="A", shell_complete=complete_place)
@click.argument("target", metavar="B", shell_complete=complete_place)
@click.option("--protocol", type=click.Choice(["icmp", "udp", "tcp"]), default="icmp", show_default=True)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=TRACE_PORT, show_default=True, help="Port of B, for TCP and UDP."
)
@click.option(
    "--size",
    type=click.IntRange(0, 65535),
    default=0,
    help="Size of the whole packet in bytes; never fragmented.",
)
@click.option("-4", "family", flag_value=4, type=int, help="Use IPv4, the default if both have it.")
@click.option("-6", "family", flag_value=6, type=int, help="Use IPv6.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option(
    "--svg",
    "picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw the trace, as SVG. An existing file is replaced.",
)
def trace(
    name: str | None,
    source: str,
    target: str,
    protocol: "Protocol",
    port: int,
    size: int,
    family: int | None,
    as_json: bool,
    picture: Path | None,
) -> None:
    """Send one packet from A to B and show its path and its answer's, hop by hop; exit code 1 without an answer.

    A and B are pods or nodes, by name or by address. Every device of the lab is watched: when the packet passed it, and
    how it changed since the previous hop. If no program listens on B's port, `trace` itself does. The last line says
    where the packet or its answer was lost, and why: rules and counters that dropped it, then what differs from the
    plan on its path.
    """
    from testbed.observe.ends import CannotTrace
    from testbed.observe.trace import trace as walk_of

    lab = the_lab(name)
    with lab_errors():
        plan, ended = lab.plan, lab.ended()
        try:
            walk = lab.inside(
                lambda namespaces: walk_of(plan, namespaces, source, target, protocol, port, size, family, ended)
            )
        except CannotTrace as reason:
            raise WrongInput(str(reason)) from None
    if picture:
        from testbed.observe.picture import svg

        click.echo(write_file(picture, svg(walk, plan.design).encode()), err=True)
    if as_json:
        click.echo(json.dumps(asdict(walk), indent=2))
    else:
        _print(walk, plan.design)
    sys.exit(0 if walk.outcome == "answered" else 1)


def _print(walk: "Walk", design: str) -> None:
    hops = (*walk.forth, *walk.back)
    widths = [
        max((len(text) for text in texts), default=0) for texts in ([h.place for h in hops], [h.device for h in hops])
    ]
    size = f", {walk.forth[0].packet.size} bytes" if walk.forth else ""
    click.secho(
        f"{walk.source} → {walk.target}  {walk.protocol} {' → '.join(walk.addresses)}{size}, {design}", bold=True
    )
    place = ""
    for part in (walk.forth, walk.back):
        for hop in part:
            if hop is not part[0] or part is walk.forth:
                click.echo(_line(hop, place, widths))
            else:
                click.secho(f"\nthe {'error' if hop.packet.error else 'answer'}", bold=True)
                click.echo(_line(hop, "", widths))
            place = hop.place
    click.echo()
    click.secho(walk.summary, fg="green" if walk.outcome == "answered" else "red")


def _line(hop: "Hop", before: str, widths: list[int]) -> str:
    """A line for a hop; names its place if it differs from the previous one."""
    place = hop.place if hop.place != before else ""
    arrow = "→ " if hop.direction == "out" else "← "
    what = "; ".join((*hop.changes, *((hop.packet.error,) if hop.packet.error and not hop.changes else ())))
    return f"{hop.time_us:9.1f} µs  {place:{widths[0]}}  {arrow}{hop.device:{widths[1]}}  {what}".rstrip()
