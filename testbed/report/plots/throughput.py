"""Throughput of each design on each path."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report import metrics, words
from testbed.report.plots.sheet import (
    FAINT,
    INK,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    arm_label,
    axis_label,
    caption,
    looks,
    name_margin,
    question_at,
    title_panel,
)
from testbed.report.run import Run
from testbed.report.statistics import Series, Summary

QUESTION = "How much throughput does each design carry?"

ROW = 0.27
"""Height of a design's row, in inches."""
NEAR = 1.25
"""The axis includes the probe's limit if it is at most this multiple of the largest value."""


def question(some: Sequence[Series]) -> str:
    return question_at(QUESTION, some)


def draw(run: Run, series: Sequence[Series], summaries: Sequence[Summary]) -> Figure:
    """One panel per path, one row per design; the axis begins at zero, so that lengths are comparable."""
    with mpl.rc_context(STYLE):
        paths = [path for path in run.paths if any(s.path == path.name for s in series)]
        arms = [name for name in run.arms if any(s.design == name for s in series)]
        largest = max(max(s.values.values()) for s in series)
        ceiling = _ceiling(run, series[0])
        inside = ceiling is not None and ceiling <= NEAR * largest
        note = f"Large mark: median. Line: {words.kind(summaries)}. Dots: single rounds. More is better."
        limit = "" if ceiling is None else "Loopback: the limit of the probe itself, without any network."
        height, head = ROW * len(arms), 0.3 + (0.17 if ceiling is not None else 0)
        left = name_margin(arm_label(run, name) for name in arms)
        width = WIDTH - left - 0.75
        body = head + len(paths) * (height + 0.42) + 0.2
        sheet = Sheet(question(series), caption(run, series, note, limit), (), body)
        for i, path in enumerate(paths):
            axes = sheet.panel(left, head + i * (height + 0.42), width, height)
            title_panel(axes, path.title, left, width, pad=5 if i or ceiling is None else 17)
            axes.set_xlim(0, 1.06 * max(largest, ceiling if ceiling and inside else 0) or 1)
            _rows(run, axes, arms, series, [s for s in summaries if s.path == path.name])
            axes.tick_params(labelbottom=i == len(paths) - 1, length=0)
            if ceiling is not None:
                _limit(axes, ceiling, inside, labelled=i == 0)
        axes.set_xlabel(axis_label(series[0].metric, series[0].unit))
        return sheet.figure


def _ceiling(run: Run, one: Series) -> float | None:
    """The probe's loopback result; None if the probe itself was swept."""
    swept = any(path.startswith(f"probes.{one.probe}.") for cell in run.cells for path in cell.factors)
    return None if swept else run.limits.get((one.probe, metrics.bare(one.metric)))


def _limit(axes: Axes, ceiling: float, inside: bool, labelled: bool) -> None:
    """Draw a line at the probe's own limit; if it is beyond the axis, only its number at the border."""
    if inside:
        axes.axvline(ceiling, color=FAINT, lw=1, ls=":")
    if labelled:
        x = ceiling / axes.get_xlim()[1] if inside else 1
        text = f"loopback {words.number(ceiling)}" + ("" if inside else " →")
        axes.text(x, 1.02, text, transform=axes.transAxes, ha="right", va="bottom", color=FAINT, fontsize=7.5)


def _rows(run: Run, axes: Axes, arms: Sequence[str], series: Sequence[Series], summaries: Sequence[Summary]) -> None:
    axes.set_yticks(range(len(arms)), [arm_label(run, name) for name in arms], color=INK)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    look = looks(run)
    for summary in summaries:
        values = next(s.values for s in series if (s.design, s.path) == (summary.design, summary.path))
        _row(axes, arms.index(summary.design), look[summary.design], summary, list(values.values()))
    for y, name in enumerate(arms):
        found = next((s for s in summaries if s.design == name), None)
        axes.text(
            *(1.015, y, words.number(found.median) if found else "no value"),
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            color=INK if found else FAINT,
            clip_on=False,
        )


def _row(axes: Axes, y: float, how: Look, summary: Summary, values: list[float]) -> None:
    if how.hollow:
        axes.barh(y, summary.median, height=0.62, fc="none", ec=how.colour, lw=0.8, ls="--", alpha=0.5)
    else:
        axes.barh(y, summary.median, height=0.62, color=how.colour, lw=0, alpha=0.16)
    axes.plot([summary.ci_low, summary.ci_high], [y - 0.1] * 2, color=how.colour, lw=1.4)
    axes.plot(summary.median, y - 0.1, ms=6, **how.mark())
    axes.plot(values, [y + 0.2] * len(values), "o", color=how.colour, ms=2.6, alpha=0.7, mew=0)
