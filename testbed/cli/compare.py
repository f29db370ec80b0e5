"""testbed compare"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testbed.cli.errors import WrongInput

if TYPE_CHECKING:
    from testbed.report.breaches import Outcome
    from testbed.report.compare import Compared

BREACHED = 1


@click.command(
    epilog="Example: testbed compare results/before results/after --fail-if 'cross-node throughput < 0.9'",
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--relative", is_flag=True, help="Compare each design's ratio to the baseline of its own run.")
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="[DESIGN] PATH METRIC < RATIO, also <= > >=; may be repeated. RATIO is NEW/OLD: 0.9 or 90%.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every comparison as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
def compare(
    old: Path, new: Path, relative: bool, conditions: tuple[str, ...], as_json: bool, as_markdown: bool
) -> None:
    """Compare two results folders: what is faster or slower in NEW, by how much, and with what confidence.

    Exit code 1 if a condition of --fail-if is breached for certain: the verdict is faster or slower, and the whole 95%
    interval is beyond RATIO. A breach that is not resolved is printed, and does not fail.
    """
    from rich.console import Console

    from testbed.report.compare_tables import markdown, terminal

    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    compared = _compared(old, new, relative)
    outcomes = [_outcome(condition, compared) for condition in conditions]
    if as_json:
        click.echo(json.dumps(_data(compared, outcomes), indent=2))
    elif as_markdown:
        click.echo(markdown(compared, outcomes), nl=False)
    else:
        Console().print(terminal(compared, outcomes))
    sys.exit(BREACHED if any(outcome.breached for outcome in outcomes) else 0)


def _compared(old: Path, new: Path, relative: bool) -> "Compared":
    from testbed.experiment.listing import opened
    from testbed.experiment.results import ResultsError
    from testbed.report.compare import NotComparable, compare

    try:
        return compare(opened(old), opened(new), relative)
    except (ResultsError, NotComparable) as error:
        raise WrongInput(str(error)) from None


def _outcome(condition: str, compared: "Compared") -> "Outcome":
    from testbed.report.breaches import judge
    from testbed.report.condition import ConditionError

    try:
        return judge(condition, compared.comparisons)
    except ConditionError as error:
        raise WrongInput(f"--fail-if '{condition}': {error}") from None


def _data(compared: "Compared", outcomes: "list[Outcome]") -> dict[str, Any]:
    return {
        "old": compared.old.folder,
        "new": compared.new.folder,
        "relative_to": compared.old.baseline if compared.relative else None,
        "differences": [asdict(difference) for difference in compared.differences],
        "only_old": list(compared.only_old),
        "only_new": list(compared.only_new),
        "comparisons": [asdict(comparison) for comparison in compared.comparisons],
        "conditions": [
            {
                "condition": outcome.text,
                "read_as": str(outcome.condition),
                "state": outcome.state,
                "compared": outcome.compared,
                "breached": [asdict(comparison) for comparison in outcome.breached],
                "not_resolved": [asdict(comparison) for comparison in outcome.not_resolved],
            }
            for outcome in outcomes
        ],
    }
