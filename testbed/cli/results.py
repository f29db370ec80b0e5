"""testbed results"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testbed.cli.errors import WrongInput
from testbed.cli.groups import VerbGroup

if TYPE_CHECKING:
    from testbed.experiment.listing import Entry
    from testbed.report.run import Run

HEADINGS = ("folder", "started (UTC)", "state", "rounds", "scenario", "kernel", "designs")


@click.group(cls=VerbGroup, epilog="Example: testbed results list")
def results() -> None:
    """List results folders, or show one. Writes nothing, needs no root."""


@results.command("list", epilog="Example: testbed results list results")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(folder: Path, as_json: bool) -> None:
    """List the results folders in FOLDER (default: results), oldest first; damaged ones with the reason."""
    from testbed.experiment.listing import entries
    from testbed.experiment.results import ResultsError

    try:
        found = entries(folder)
    except ResultsError as error:
        raise WrongInput(str(error)) from None
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    if not found:
        click.echo(f"No results folders in {folder}")
        return
    for line in _aligned([HEADINGS, *map(_cells, found)]):
        click.echo(line)


@results.command(epilog="Example: testbed results show results/compare-designs-20260101-120000")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(folder: Path, as_json: bool) -> None:
    """Show a results folder: the verdicts so far, the machine, and what failed."""
    from rich.console import Console

    from testbed.experiment.listing import opened
    from testbed.experiment.results import ResultsError
    from testbed.report import statistics, summaries_of, tables
    from testbed.report.run import read_run

    try:
        read = opened(folder)
    except ResultsError as error:
        raise WrongInput(str(error)) from None
    run = read_run(read)
    summaries = summaries_of(run, statistics.series(read.samples), read)
    if as_json:
        click.echo(json.dumps(_data(run) | {"summaries": [asdict(row) for row in summaries]}, indent=2))
        return
    Console().print(tables.terminal(run, summaries))
    click.echo()
    for line in (*_facts(run), *_failed(run)):
        click.echo(line)


def _cells(entry: "Entry") -> tuple[str, ...]:
    if entry.state == "damaged":
        return entry.folder, "", f"damaged: {entry.reason}"
    planned = "auto" if entry.rounds_planned is None else entry.rounds_planned
    rounds = f"{'?' if entry.rounds_done is None else entry.rounds_done}/{planned}"
    started = entry.started[:16].replace("T", " ")
    return entry.folder, started, entry.state, rounds, entry.scenario, entry.kernel, ", ".join(entry.designs)


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows as aligned columns. The last cell of a row may be longer than its column; nothing is truncated."""
    widths = [max((len(row[i]) for row in rows if i + 1 < len(row)), default=0) for i in range(len(HEADINGS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def _facts(run: "Run") -> Iterator[str]:
    """The machine, and how the run was made."""
    machine = run.machine | {"tools": ", ".join(f"{name} {version}" for name, version in run.tools.items())}
    for name, fact in machine.items():
        yield f"{name:12}{fact}"
    yield f"{'testbed':12}{run.testbed}, seed {run.seed}"
    yield f"{'run':12}{run.state or 'state unknown'}, {run.started} to {run.ended or '?'}"


def _failed(run: "Run") -> Iterator[str]:
    """The checks and samples that failed, with their reasons."""
    from testbed.report import words

    for design in run.lost_designs():
        for failure in design.failures:
            yield f"{design.name} failed its check: {failure}"
    yield from words.failures(run)


def _data(run: "Run") -> dict[str, Any]:
    kept = ("name", "folder", "state", "reason", "rounds", "rounds_planned", "started", "ended", "seed", "testbed")
    return {
        **{key: getattr(run, key) for key in kept},
        "machine": run.machine,
        "tools": run.tools,
        "designs": [
            {"name": design.name, "state": design.state, "reason": design.reason, "failures": list(design.failures)}
            for design in run.designs
        ],
        "failures": [asdict(failure) for failure in run.failures],
        "doubts": [asdict(doubt) for doubt in run.doubts],
    }
