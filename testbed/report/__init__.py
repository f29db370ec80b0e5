"""Report: statistics, plots, tables and HTML from a results folder. Needs no root and nothing else."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from rich.console import RenderableType

from testbed.experiment.results import Results, read_results
from testbed.report import counts, html, metrics, statistics, tables
from testbed.report.overview import rounds_to_resolve
from testbed.report.run import Run, read_run
from testbed.report.statistics import Series, Summary

if TYPE_CHECKING:
    from testbed.report.plots import Plot

__all__ = ["Report", "is_settled", "summaries_of", "write_report"]


@dataclass(frozen=True)
class Report:
    """Files written to a results folder, and the table for the terminal."""

    run: Run
    summaries: tuple[Summary, ...]
    """The rows of summary.csv."""
    table: RenderableType
    summary_csv: Path
    html: Path
    markdown: Path
    rounds_to_resolve: int | None
    """A number of rounds that would resolve more; None if that is out of proportion, or nothing is open."""
    plots: tuple[Path, ...]
    """PNG and SVG files; empty if nothing was measured."""


def write_report(folder: Path, counted: Path | None = None) -> Report:
    """Write summary.csv, plots/, report.md and report.html from the files of the run; replaces existing ones.

    `counted` is a folder of `testbed count`, whose instructions are shown beside the times from now on. The same
    samples give the same bytes. Raises ResultsError if the folder is not a results folder.
    """
    from testbed.report.plots import draw_plots  # here, because matplotlib takes a second to import

    results = read_results(folder)
    if counted:
        counts.take(folder, read_results(counted))
    run = read_run(results)
    series = statistics.series(results.samples)
    summaries = summaries_of(run, series, results)
    pooled = statistics.pooled(results.histograms)
    plots = draw_plots(folder / "plots", run, series, summaries, pooled)

    report = Report(
        run,
        summaries,
        tables.terminal(run, summaries),
        folder / "summary.csv",
        folder / "report.html",
        folder / "report.md",
        rounds_to_resolve(run, summaries),
        tuple(file for plot in plots for file in (plot.png, plot.svg)),
    )
    report.summary_csv.write_text(statistics.to_csv(summaries), "utf-8")
    files = [(plot.question, f"plots/{plot.png.name}") for plot in plots]
    report.markdown.write_text(tables.markdown(run, summaries, files), "utf-8")
    report.html.write_text(html.render(run, summaries, pooled, [_shown(plot) for plot in plots]), "utf-8")
    return report


def summaries_of(run: Run, series: Sequence[Series], results: Results) -> tuple[Summary, ...]:
    """Summaries sorted by path, metric, cell and design, each in the order of the scenario."""
    paths, cells = [path.name for path in run.paths], [cell.name for cell in run.cells] or [""]
    summaries = statistics.summarise(series, run.baseline, results.histograms, run.look, run.headline)
    return tuple(
        sorted(
            summaries,
            key=lambda s: (
                paths.index(s.path),
                metrics.order(s.metric),
                cells.index(s.cell),
                run.arms.index(s.design),
            ),
        )
    )


def is_settled(folder: Path, look: int, enough: float) -> bool:
    """Whether a run with `rounds: auto` may end at its n-th look.

    True if each headline verdict is resolved or its smallest detectable effect is at most `enough`, a fraction.
    """
    results = read_results(folder)
    series = statistics.series(results.samples)
    run = read_run(results)
    summaries = statistics.summarise(series, run.baseline, results.histograms, look, run.headline)
    return statistics.settled(summaries, enough)


def _shown(plot: "Plot") -> Markup:
    if plot.svg.stat().st_size <= html.MAX_SVG_BYTES:
        return html.inlined(plot.svg.read_text("utf-8"), plot.name, plot.question)
    return html.embedded(base64.b64encode(plot.png.read_bytes()).decode(), plot.question)
