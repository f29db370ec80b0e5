"""Response times: percentiles, and the whole distribution with its tail."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.experiment.results import Histogram, Values
from testbed.report import metrics, words
from testbed.report.plots.panels import bottom_panels, grid
from testbed.report.plots.sheet import (
    FAINT,
    INK,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    arm_label,
    caption,
    handles,
    looks,
    name_margin,
    plain_log,
    question_at,
    title_panel,
)
from testbed.report.run import Path, Run
from testbed.report.statistics import percentiles

POOLED = "All counted rounds' values together. Less is better."

ROW = 0.27
"""Height of a design's row, in inches."""
COLUMN = 0.46
"""Width of a column of numbers, in inches."""
SHAPES = {50: "o", 90: "s", 99: "^", 99.9: "D"}
TAIL = 1e-4
"""The smallest fraction of requests that is drawn."""
VALUES_BEHIND = 10
"""A line ends where fewer values than this are slower: the rest is chance."""


@dataclass(frozen=True)
class Kind:
    """The texts for one kind of response time."""

    question: str
    """The title of the percentiles."""
    things: str
    """What is measured, in plural."""
    axis: str


KINDS = {
    "rtt": Kind("How long does a request wait for its answer?", "requests", "RTT"),
    "open_rtt": Kind(
        "How long does a packet sent at a fixed rate wait for its answer?",
        "packets sent at a fixed rate",
        "Open-loop RTT",
    ),
    "loaded_rtt": Kind(
        "How long does a packet wait for its answer during bulk transfers?",
        "packets during bulk transfers",
        "RTT under load",
    ),
    "icmp_rtt": Kind("How long does a ping wait for its answer?", "pings", "ICMP RTT"),
    "connect": Kind("How long does it take to connect?", "connections", "Time to connect"),
}


def percentiles_question(pooled: Sequence[Histogram], several: bool = False) -> str:
    """The title of the percentiles, with the probe's name if several probes measure them."""
    return question_at(_of_probe(_kind(pooled[0]).question, pooled[0], several), pooled)


def distribution_question(pooled: Sequence[Histogram], several: bool = False) -> str:
    """The title of the distribution, with the probe's name if several probes measure it."""
    question = f"How many {_kind(pooled[0]).things} take longer than a given time?"
    return question_at(_of_probe(question, pooled[0], several), pooled)


def _kind(histogram: Histogram) -> Kind:
    name = metrics.bare(histogram.metric)
    return KINDS.get(name) or Kind(f"{name}: how long does it take?", "values", name)


def _of_probe(question: str, histogram: Histogram, several: bool) -> str:
    return f"{histogram.probe}: {question[0].lower()}{question[1:]}" if several else question


def _shown(run: Run, pooled: Sequence[Histogram]) -> tuple[list[Path], list[str]]:
    """The paths and the arms that have values."""
    paths = [path for path in run.paths if any(h.path == path.name for h in pooled)]
    return paths, [name for name in run.arms if any(h.design == name for h in pooled)]


def _axis(histogram: Histogram) -> str:
    return f"{_kind(histogram).axis}, {words.unit(histogram.unit)}, logarithmic"


def draw_percentiles(run: Run, pooled: Sequence[Histogram], several: bool = False) -> Figure:
    """One panel per path, one row per design: its percentiles as marks on a logarithmic axis, and as numbers."""
    with mpl.rc_context(STYLE):
        paths, arms = _shown(run, pooled)
        shown = sorted({q for h in pooled for q in percentiles(h)})
        entries = [
            Line2D([], [], color=INK, marker=SHAPES.get(q, "o"), ls="none", ms=5, label=f"p{q:g}") for q in shown
        ]
        note = f"{POOLED} p99.9 requires at least 10,000 values."
        height, left = ROW * len(arms), name_margin(arm_label(run, name) for name in arms)
        width = WIDTH - left - COLUMN * len(shown) - 0.2
        body = len(paths) * (height + 0.42) + 0.5
        sheet = Sheet(percentiles_question(pooled, several), caption(run, pooled, note), entries, body)
        first: Axes | None = None
        for i, path in enumerate(paths):
            top = 0.3 + i * (height + 0.42)
            axes = first = sheet.panel(left, top, width, height, xscale="log", sharex=first)
            title_panel(axes, path.title, left, width, pad=5)
            here = {h.design: percentiles(h) for h in pooled if h.path == path.name}
            _rows(run, axes, arms, here)
            _numbers(axes, arms, here, shown, COLUMN / width)
            plain_log(axes.xaxis)
            axes.tick_params(labelbottom=i == len(paths) - 1, length=0)
        axes.set_xlabel(_axis(pooled[0]))
        return sheet.figure


def _rows(run: Run, axes: Axes, arms: list[str], here: dict[str, dict[float, float]]) -> None:
    axes.set_yticks(range(len(arms)), [arm_label(run, name) for name in arms], color=INK)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    look = looks(run)
    for name, found in here.items():
        y, how = arms.index(name), look[name]
        axes.plot(list(found.values()), [y] * len(found), color=how.colour, ls=how.line, lw=1.4, alpha=0.5)
        for q, value in found.items():
            axes.plot(value, y, ms=5.5, **how.mark() | {"marker": SHAPES.get(q, "o")})


def _numbers(axes: Axes, arms: list[str], here: dict[str, dict[float, float]], shown: list[float], step: float) -> None:
    """The percentiles as a table at the right of the panel; `step` is the width of a column, in widths of the panel."""
    for column, q in enumerate(shown):
        x = 1 + (column + 1) * step
        axes.text(x, 1.03, f"p{q:g}", transform=axes.transAxes, ha="right", va="bottom", color=FAINT)
        for y, name in enumerate(arms):
            value = here.get(name, {}).get(q)
            axes.text(
                *(x, y, words.number(value)),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center_baseline",
                color=FAINT if value is None else INK,
            )


def draw_distribution(run: Run, pooled: Sequence[Histogram], several: bool = False) -> Figure:
    """One panel per path: the fraction of requests slower than a time, down to one in 10,000."""
    with mpl.rc_context(STYLE):
        paths, arms = _shown(run, pooled)
        look = looks(run)
        ends = f"A line ends where fewer than {VALUES_BEHIND} values are slower."
        note = f"Vertical: the fraction that takes longer. {POOLED} {ends}"
        sheet, panels = grid(
            distribution_question(pooled, several),
            caption(run, pooled, note),
            handles(run, arms, marks=False),
            [(path.title,) for path in paths],
        )
        for axes, path in zip(panels, paths, strict=True):
            _tails(axes, [h for name in arms for h in pooled if (h.path, h.design) == (path.name, name)], look)
            axes.set(xscale="log", yscale="log", ylim=(TAIL, 1))
            axes.set_yticks([1, 0.1, 0.01, 1e-3, 1e-4], ["all", "1 in 10", "1 in 100", "1 in 1000", "1 in 10⁴"])
            axes.tick_params(length=0)
        plain_log(panels[0].xaxis)  # all panels have the same axes
        for axes in bottom_panels(panels):
            axes.set_xlabel(_axis(pooled[0]))
        return sheet.figure


def _tails(axes: Axes, ordered: Sequence[Histogram], look: dict[str, Look]) -> None:
    """Draw the lines, each thinner than the one below it, so that coinciding lines stay visible."""
    for i, histogram in enumerate(ordered):
        how = look[histogram.design]
        width = 2.8 - 1.8 * i / max(len(ordered) - 1, 1)
        axes.plot(*_tail(histogram), color=how.colour, ls=how.line, lw=width, drawstyle="steps-post")


def _tail(histogram: Histogram) -> tuple[Values, Values]:
    """Times, and the fraction of values above each; thinned to steps of 2.5% of the fraction."""
    fraction = 1 - np.cumsum(histogram.counts) / histogram.total
    kept = fraction >= max(TAIL, VALUES_BEHIND / histogram.total)
    times, fraction = histogram.values[kept], fraction[kept]
    steps = np.floor(-np.log(fraction) / 0.025)
    seen = np.diff(steps, prepend=-1) > 0
    start = histogram.values[:1]
    return np.concatenate([start, times[seen]]), np.concatenate([np.ones(1), fraction[seen]])
