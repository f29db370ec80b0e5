"""The plots of a results folder, each as PNG and as SVG, each readable on its own.

Importing this package imports matplotlib, so the rest of the room does it only when plots are drawn.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from testbed.experiment.results import Histogram
from testbed.report import metrics
from testbed.report.plots import latency, rounds, throughput
from testbed.report.plots.sheet import save
from testbed.report.run import Run
from testbed.report.statistics import Series, Summary

Drawing = tuple[str, str, Figure]
"""Name, question and figure of a plot."""


@dataclass(frozen=True)
class Plot:
    """A plot on disk."""

    name: str
    """The file's name without its ending."""
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
    """Draws what was measured into the folder; a plot without any value is left out."""
    folder.mkdir(exist_ok=True)
    return tuple(_saved(folder, *drawn) for drawn in figures(run, series, summaries, pooled))


def figures(
    run: Run, series: Sequence[Series], summaries: Sequence[Summary], pooled: Sequence[Histogram]
) -> Iterator[Drawing]:
    """Every plot of what was measured. A name holds the probe where several measure the same."""
    by_metric: dict[str, list[Series]] = {}
    for one in sorted(series, key=lambda one: metrics.order(one.metric)):
        by_metric.setdefault(one.metric, []).append(one)
    for metric, some in by_metric.items():
        if metrics.known(metric).name == "throughput":
            rows = [s for s in summaries if s.metric == metric]
            yield _name("throughput", metric), throughput.QUESTION, throughput.draw(run, some, rows)
    yield from _latencies(run, pooled)
    compared = {s.metric for s in summaries if s.pairs and s.verdict != "baseline"}
    for metric, some in by_metric.items():
        if metrics.known(metric).main and metric in compared:
            name = _name(f"rounds-{metrics.known(metric).name}", metric)
            yield name, rounds.question(run, metric), rounds.draw(run, some)


def _latencies(run: Run, pooled: Sequence[Histogram]) -> Iterator[Drawing]:
    probes = sorted({histogram.probe for histogram in pooled})
    for probe in probes:
        some = [histogram for histogram in pooled if histogram.probe == probe]
        suffix = f"{probe}/" if len(probes) > 1 else ""
        name = _name("latency-percentiles", suffix)
        yield name, latency.PERCENTILES, latency.draw_percentiles(run, some)
        name = _name("latency-distribution", suffix)
        yield name, latency.DISTRIBUTION, latency.draw_distribution(run, some)


def _name(what: str, metric: str) -> str:
    """The name of a plot's files, with the probe if the metric is written PROBE/METRIC."""
    probe = metric.rpartition("/")[0]
    return what + ("-" + re.sub(r"[^A-Za-z0-9_]", "-", probe) if probe else "")


def _saved(folder: Path, name: str, question: str, figure: Figure) -> Plot:
    plot = Plot(name, question, folder / f"{name}.png", folder / f"{name}.svg")
    save(figure, plot.png, plot.svg)
    return plot
