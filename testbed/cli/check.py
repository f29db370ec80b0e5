"""testbed check"""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from testbed.cli.labs import lab_errors, lab_option, the_lab

if TYPE_CHECKING:
    from testbed.observe.verdict import Verdict


@click.command(epilog="Example: testbed check")
@lab_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check(name: str | None, as_json: bool) -> None:
    """Check every pair of pods and nodes against the Kubernetes network model; exit code 1 if any fails.

    Over TCP, UDP and ICMP, in each family that both have, the right target must answer, and must see the source's own
    address. Between each two nodes, the largest packet that pods may send must pass, and no larger one. For failing
    pairs, a packet is traced to find the cause.
    """
    lab = the_lab(name)
    with lab_errors():
        from testbed.observe.check import check as check_lab

        plan, topology, design, ended = lab.plan, lab.topology, lab.design, lab.ended()
        verdict = lab.inside(lambda namespaces: check_lab(design, topology, plan, namespaces, ended))
    if as_json:
        click.echo(json.dumps(asdict(verdict), indent=2))
    else:
        _print(verdict, {space.name: space.home for space in plan.spaces})
    sys.exit(0 if verdict.is_good else 1)


def _print(verdict: "Verdict", homes: dict[str, str]) -> None:
    from testbed.observe.verdict import count, details, matrix_text

    click.echo(matrix_text(verdict, homes))
    click.secho(f"\n{count(verdict)}", fg="green" if verdict.is_good else "red", bold=True)
    for line in details(verdict):
        click.echo(line)
