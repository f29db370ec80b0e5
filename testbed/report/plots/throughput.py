"""How much throughput does each design carry, on each path?"""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report import words
from testbed.report.plots.sheet import (
    FAINT,
    INK,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    axis_label,
    caption,
    looks,
    name_margin,
    short,
)
from testbed.report.run import Run
from testbed.report.statistics import Series, Summary

QUESTION = "How much throughput does each design carry?"

ROW = 0.27
"""Height of a design's row, in inches."""


def draw(run: Run, series: Sequence[Series], summaries: Sequence[Summary]) -> Figure:
    """One panel a path, one row a design; the axis begins at zero, so that lengths may be compared."""
    with mpl.rc_context(STYLE):
        paths = [path for path in run.paths if any(s.path == path.name for s in series)]
        designs = [name for name in run.design_names() if any(s.design == name for s in series)]
        height = ROW * len(designs)
        note = f"Large mark: median. Line: {words.kind(summaries)}. Dots: the single rounds. More is better."
        sheet = Sheet(QUESTION, caption(run, series[0].probe, note), (), len(paths) * (height + 0.42) + 0.5)
        left = name_margin(designs)
        limit = 1.06 * max(max(s.values.values()) for s in series)
        for i, path in enumerate(paths):
            axes = sheet.panel(left, 0.3 + i * (height + 0.42), WIDTH - left - 0.75, height)
            axes.set_title(path.title, x=-left / (WIDTH - left - 0.75) + 0.02, pad=5)
            axes.set_xlim(0, limit or 1)
            _rows(axes, designs, looks(run), series, [s for s in summaries if s.path == path.name])
            axes.tick_params(labelbottom=i == len(paths) - 1, length=0)
        axes.set_xlabel(axis_label(series[0].metric, series[0].unit))
        return sheet.figure


def _rows(
    axes: Axes,
    designs: list[str],
    look: dict[str, Look],
    series: Sequence[Series],
    summaries: Sequence[Summary],
) -> None:
    axes.set_yticks(range(len(designs)), [short(name) for name in designs], color=INK)
    axes.set_ylim(len(designs) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for summary in summaries:
        y, how = designs.index(summary.design), look[summary.design]
        rounds = next(s for s in series if (s.design, s.path) == (summary.design, summary.path))
        axes.barh(y, summary.median, height=0.62, color=how.colour, alpha=0.16, lw=0)
        axes.plot([summary.ci_low, summary.ci_high], [y - 0.1] * 2, color=how.colour, lw=1.4)
        axes.plot(summary.median, y - 0.1, how.marker, color=how.colour, ms=6, mec="white", mew=0.8)
        values = list(rounds.values.values())
        axes.plot(values, [y + 0.2] * len(values), "o", color=how.colour, ms=2.6, alpha=0.7, mew=0)
    for y, name in enumerate(designs):
        found = next((s for s in summaries if s.design == name), None)
        axes.text(
            *(1.015, y, words.number(found.median) if found else "no value"),
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            color=INK if found else FAINT,
            clip_on=False,
        )
