"""testbed report"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from testbed.cli.errors import WrongInput
from testbed.cli.output import failure


@click.command(epilog="Example: testbed report results/compare-designs-20260101-120000")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--counts",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Show the instructions in a folder of `testbed count` beside the times; they are kept in RESULTS.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows of the summary as JSON.")
def report(results: Path, counts: Path | None, as_json: bool) -> None:
    """Recreate the tables, plots and report.html of a results folder from its data. Needs no root."""
    from rich.console import Console

    from testbed.experiment.results import ResultsError
    from testbed.report import write_report

    try:
        made = write_report(results, counts)
    except ResultsError as error:
        raise WrongInput(str(error)) from None
    except OSError as error:
        raise failure(str(error.filename or "the report"), error) from None
    if as_json:
        click.echo(json.dumps([asdict(row) for row in made.summaries], indent=2))
        return
    Console().print(made.table)
    click.echo(f"\nReport: {made.html}")
