"""How long does a request wait for its answer: percentiles, and the whole distribution with its tail."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.experiment.results import Histogram, Values
from testbed.report import words
from testbed.report.plots.panels import grid
from testbed.report.plots.sheet import (
    FAINT,
    INK,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    caption,
    looks,
    name_margin,
    plain_log,
    short,
)
from testbed.report.run import Run
from testbed.report.statistics import percentiles

PERCENTILES = "How long does a request wait for its answer?"
DISTRIBUTION = "How many requests are slower than a given time?"
POOLED = "All counted rounds' values together. Less is better."

ROW = 0.27
"""Height of a design's row, in inches."""
COLUMN = 0.46
"""Width of a column of numbers, in inches."""
SHAPES = {50: "o", 90: "s", 99: "^", 99.9: "D"}
TAIL = 1e-4
"""The smallest fraction of requests that is drawn."""
VALUES_BEHIND = 10
"""A line ends where fewer values than this are slower: what lies beyond is chance."""


def draw_percentiles(run: Run, pooled: Sequence[Histogram]) -> Figure:
    """One panel a path, one row a design: its percentiles as marks on a logarithmic axis, and as numbers."""
    with mpl.rc_context(STYLE):
        paths = [path for path in run.paths if any(h.path == path.name for h in pooled)]
        designs = [name for name in run.design_names() if any(h.design == name for h in pooled)]
        shown = sorted({q for h in pooled for q in percentiles(h)})
        handles = [
            Line2D([], [], color=INK, marker=SHAPES.get(q, "o"), ls="none", ms=5, label=f"p{q:g}") for q in shown
        ]
        note = f"{POOLED} p99.9 only where at least 10,000 values stand behind it."
        height, left = ROW * len(designs), name_margin(designs)
        width = WIDTH - left - COLUMN * len(shown) - 0.2
        body = len(paths) * (height + 0.42) + 0.5
        sheet = Sheet(PERCENTILES, caption(run, pooled[0].probe, note), handles, body)
        first: Axes | None = None
        for i, path in enumerate(paths):
            top = 0.3 + i * (height + 0.42)
            axes = first = sheet.panel(left, top, width, height, xscale="log", sharex=first)
            axes.set_title(path.title, x=-left / width + 0.02, pad=5)
            here = {h.design: percentiles(h) for h in pooled if h.path == path.name}
            _rows(axes, designs, here, looks(run))
            _numbers(axes, designs, here, shown, COLUMN / width)
            plain_log(axes.xaxis)
            axes.tick_params(labelbottom=i == len(paths) - 1, length=0)
        axes.set_xlabel(f"RTT, {words.unit(pooled[0].unit)}, logarithmic")
        return sheet.figure


def _rows(axes: Axes, designs: list[str], here: dict[str, dict[float, float]], look: dict[str, Look]) -> None:
    axes.set_yticks(range(len(designs)), [short(name) for name in designs], color=INK)
    axes.set_ylim(len(designs) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for name, found in here.items():
        y, colour = designs.index(name), look[name].colour
        axes.plot(list(found.values()), [y] * len(found), color=colour, lw=1.4, alpha=0.5)
        for q, value in found.items():
            axes.plot(value, y, SHAPES.get(q, "o"), color=colour, ms=5.5, mec="white", mew=0.6)


def _numbers(
    axes: Axes, designs: list[str], here: dict[str, dict[float, float]], shown: list[float], step: float
) -> None:
    """The same percentiles as a table at the right of the panel; a column is `step` of the panel wide."""
    for column, q in enumerate(shown):
        x = 1 + (column + 1) * step
        axes.text(x, 1.03, f"p{q:g}", transform=axes.transAxes, ha="right", va="bottom", color=FAINT)
        for y, name in enumerate(designs):
            value = here.get(name, {}).get(q)
            axes.text(
                *(x, y, words.number(value)),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center_baseline",
                color=FAINT if value is None else INK,
            )


def draw_distribution(run: Run, pooled: Sequence[Histogram]) -> Figure:
    """One panel a path: the fraction of requests slower than a time, down to one in 10,000."""
    with mpl.rc_context(STYLE):
        look = looks(run)
        paths = [path for path in run.paths if any(h.path == path.name for h in pooled)]
        designs = [name for name in run.design_names() if any(h.design == name for h in pooled)]
        handles = [Line2D([], [], color=look[name].colour, lw=2, label=short(name)) for name in designs]
        ends = f"A line ends where fewer than {VALUES_BEHIND} values are slower."
        note = f"Upright: the fraction of requests slower than that. {POOLED} {ends}"
        sheet, panels = grid(DISTRIBUTION, caption(run, pooled[0].probe, note), handles, len(paths))
        for axes, path in zip(panels, paths, strict=True):
            axes.set_title(path.title)
            # Each line is thinner than the one under it, so that lines which coincide can all be seen.
            for i, histogram in enumerate(
                h for name in designs for h in pooled if (h.path, h.design) == (path.name, name)
            ):
                width = 2.8 - 1.8 * i / max(len(designs) - 1, 1)
                axes.plot(*_tail(histogram), color=look[histogram.design].colour, lw=width, drawstyle="steps-post")
            axes.set(xscale="log", yscale="log", ylim=(TAIL, 1))
            plain_log(axes.xaxis)
            axes.set_yticks([1, 0.1, 0.01, 1e-3, 1e-4], ["all", "1 in 10", "1 in 100", "1 in 1000", "1 in 10⁴"])
            axes.tick_params(length=0)
            axes.set_xlabel(f"RTT, {words.unit(pooled[0].unit)}, logarithmic")
        return sheet.figure


def _tail(histogram: Histogram) -> tuple[Values, Values]:
    """Times, and the fraction of values above each; thinned to steps of 2.5% of the fraction."""
    fraction = 1 - np.cumsum(histogram.counts) / histogram.total
    kept = fraction >= max(TAIL, VALUES_BEHIND / histogram.total)
    times, fraction = histogram.values[kept], fraction[kept]
    steps = np.floor(-np.log(fraction) / 0.025)
    seen = np.diff(steps, prepend=-1) > 0
    start = histogram.values[:1]
    return np.concatenate([start, times[seen]]), np.concatenate([np.ones(1), fraction[seen]])
