"""The plots of a results folder, each as PNG and as SVG.

Importing this package imports matplotlib, so import it only to draw plots.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from testbed.experiment.results import Histogram
from testbed.report import metrics
from testbed.report.plots import cost, forest, latency, rounds, sweep, throughput
from testbed.report.plots.sheet import save
from testbed.report.run import Run
from testbed.report.statistics import Series, Summary

Drawing = tuple[str, str, Figure]
"""Name, question and figure of a plot."""

CELLS_WITH_PLOTS = 2
"""A sweep with more cells has no plots per cell; its sweep plots and the tables show the same values."""
FOREST_PAGES = 3
"""More pages of comparisons have no plots; the tables show the same values."""
CELLS_IN_ROUNDS = 4
"""A sweep with more cells has no plots of rounds."""


@dataclass(frozen=True)
class Plot:
    """A plot on disk."""

    name: str
    """The file name without extension."""
    question: str
    png: Path
    svg: Path


def draw_plots(
    folder: Path,
    run: Run,
    series: Sequence[Series],
    summaries: Sequence[Summary],
    pooled: Sequence[Histogram],
) -> tuple[Plot, ...]:
    """Draw all plots that have values into the folder."""
    folder.mkdir(exist_ok=True)
    return tuple(_saved(folder, *drawn) for drawn in figures(run, series, summaries, pooled))


def figures(
    run: Run, series: Sequence[Series], summaries: Sequence[Summary], pooled: Sequence[Histogram]
) -> Iterator[Drawing]:
    """All plots that have values, the most important first.

    A name contains the path if a metric has a plot for each, the probe if several probes measure the metric, and the
    cell's number if each cell has a plot.
    """
    for page in sweep.pages(run, summaries):
        yield _name("sweep", page.metric, page.path), sweep.question(run, page), sweep.draw(run, page)
    cells = [cell.name for cell in run.cells] or [""]
    for number, cell in enumerate(cells if len(cells) <= CELLS_WITH_PLOTS else [], start=1):
        suffix = [f"cell-{number}"] if cell else []
        for name, question, figure in _of_cell(
            run,
            [s for s in series if s.cell == cell],
            [s for s in summaries if s.cell == cell],
            [h for h in pooled if h.cell == cell],
        ):
            yield "-".join([name, *suffix]), question, figure
    if len(cells) <= CELLS_IN_ROUNDS:
        for some_series in _by_metric(series):
            metric = some_series[0].metric
            if metrics.known(metric).main and rounds.is_drawable(run, some_series):
                yield _name("rounds", metric), rounds.question(run, metric), rounds.draw(run, some_series)


def _of_cell(
    run: Run, series: Sequence[Series], summaries: Sequence[Summary], pooled: Sequence[Histogram]
) -> Iterator[Drawing]:
    pages = list(forest.pages(summaries))[:FOREST_PAGES]
    for number, page in enumerate(pages, start=1):
        name = "forest" if number == 1 else f"forest-{number}"
        part = f"{number} of {len(pages)}" if len(pages) > 1 else ""
        yield name, forest.question(run, page, part), forest.draw(run, page, part)
    for some in _by_metric(series):
        metric = some[0].metric
        if metric.rpartition("/")[2] == "throughput":
            rows = [s for s in summaries if s.metric == metric]
            name = _name("", metric)
            yield name, throughput.question(some), throughput.draw(run, some, rows)
    yield from _latencies(run, pooled)
    for bought in cost.pairs(summaries):
        yield _name("cost", bought[0][0].metric), cost.question(bought), cost.draw(run, bought)


def _latencies(run: Run, pooled: Sequence[Histogram]) -> Iterator[Drawing]:
    """Two plots for each distribution of a probe; the name of the plots of `rtt` omits the metric."""
    measured = sorted({(h.metric, h.probe) for h in pooled}, key=lambda key: (metrics.order(f"{key[0]}_p50"), key[1]))
    for metric, probe in measured:
        some = [h for h in pooled if (h.metric, h.probe) == (metric, probe)]
        several = sum(other == metric for other, _ in measured) > 1
        parts = [*([] if metric == "rtt" else [metric]), *([probe] if several else [])]
        name = _slug("latency-percentiles", *parts)
        yield name, latency.percentiles_question(some, several), latency.draw_percentiles(run, some, several)
        name = _slug("latency-distribution", *parts)
        yield name, latency.distribution_question(some, several), latency.draw_distribution(run, some, several)


def _by_metric(series: Sequence[Series]) -> list[list[Series]]:
    """The series of each metric, in the order of `metrics.order`."""
    found: dict[str, list[Series]] = {}
    for one in sorted(series, key=lambda one: metrics.order(one.metric)):
        found.setdefault(one.metric, []).append(one)
    return list(found.values())


def _name(what: str, metric: str, *more: str) -> str:
    """The name of a plot's files, with the probe if the metric is PROBE/METRIC."""
    probe, _, name = metric.rpartition("/")
    return _slug(what, name, probe, *more)


def _slug(*parts: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9_]", "-", part) for part in parts if part)


def _saved(folder: Path, name: str, question: str, figure: Figure) -> Plot:
    plot = Plot(name, question, folder / f"{name}.png", folder / f"{name}.svg")
    save(figure, plot.png, plot.svg)
    return plot
