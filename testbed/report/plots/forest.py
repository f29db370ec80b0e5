"""Forest plot: which differences from the baseline are resolved?

One row per design: the ratio to the baseline as a mark, the ratio's interval as a line. Each metric has its own axis,
which all its paths share.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.report import metrics, words
from testbed.report.plots.lettering import fitted
from testbed.report.plots.sheet import (
    BASELINE_COLOUR,
    EDGE,
    FAINT,
    INK,
    PAPER,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    arm_label,
    caption,
    edge_of,
    looks,
    name_margin,
    plain_log,
    question_at,
    ratio_limits,
    short,
    title_panel,
)
from testbed.report.run import Run
from testbed.report.statistics import RESOLVED, Summary
from testbed.spec.scenario import AA

ROW = 0.2
"""Height of a row, in inches."""
HEADING = 1.25
"""Height of a path's heading, in rows."""
HEAD = 0.3
"""Height of a metric's title, in inches."""
FOOT = 0.32
"""Height of its axis, in inches."""
TALLEST = 9.0
"""A figure's body is no taller than this, in inches, unless one metric alone is."""
NUMBERS, VERDICTS = 0.65, 0.97
"""Widths of the columns at the right, in inches."""
LARGEST_SHOWN = 0.99
"""A smallest detectable effect from here on (about a factor of two) is not printed."""


def question(run: Run, summaries: Sequence[Summary], part: str = "") -> str:
    """The title; `part` is the number of the figure, such as `2 of 3`, if there are several."""
    question = question_at(f"Which differences from {short(run.baseline)} are resolved?", summaries)
    return f"{question} ({part})" if part else question


def pages(summaries: Sequence[Summary]) -> Iterator[tuple[Summary, ...]]:
    """The comparisons to show, split into pages that fit a figure; the main metrics first.

    Metrics without comparisons are omitted.
    """
    compared = [s for s in summaries if _is_compared(s)]
    page: list[Summary] = []
    for _, group in groupby(sorted(compared, key=_order), key=_order):
        block = list(group)
        if page and _height(page) + _height(block) > TALLEST:
            yield tuple(page)
            page = []
        page += block
    if page:
        yield tuple(page)


def _is_compared(s: Summary) -> bool:
    metric = metrics.known(s.metric)
    return metric.in_table and metric.better is not None and s.verdict != "baseline" and s.ratio is not None


def _order(s: Summary) -> tuple[bool, int, str]:
    return not metrics.known(s.metric).main, *metrics.order(s.metric)


def _height(some: Sequence[Summary]) -> float:
    """The height of all the metrics' blocks, in inches."""
    rows, headings = len(some), len({(s.metric, s.path) for s in some})
    return ROW * (rows + HEADING * headings) + (HEAD + FOOT) * len({s.metric for s in some})


def draw(run: Run, summaries: Sequence[Summary], part: str = "") -> Figure:
    """One block per metric, in it one group of rows per path; `summaries` is one of the `pages`."""
    with mpl.rc_context(STYLE):
        sheet = Sheet(
            question(run, summaries, part),
            caption(run, summaries, *_notes(run, summaries)),
            _legend(run, summaries),
            _height(summaries) + 0.1,
        )
        left = name_margin(arm_label(run, s.design) for s in summaries)
        top = 0.0
        for _, group in groupby(summaries, key=lambda s: s.metric):
            block = list(group)
            tall = _height(block)
            axes = sheet.panel(left, top + HEAD, WIDTH - left - NUMBERS - VERDICTS, tall - HEAD - FOOT, xscale="log")
            _block(run, axes, left, block)
            top += tall
        return sheet.figure


def _notes(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    kind = words.kind(summaries)
    yield f"Mark: median ratio to {run.baseline} in the same round. Line: {kind}. Axes are logarithmic."
    if any(s.verdict == "not resolved" and s.smallest is not None and s.smallest < LARGEST_SHOWN for s in summaries):
        yield "< N%: not resolved; a difference of N% is detected with a probability of 90%."


def _legend(run: Run, summaries: Sequence[Summary]) -> list[Line2D]:
    resolved = any(s.verdict in RESOLVED for s in summaries)
    kinds = [("faster or slower", resolved, False), ("not resolved", True, True)]
    entries = [
        Line2D([], [], ls="none", ms=5, label=label, **Look(INK, "o", hollow=hollow).mark())
        for label, wanted, hollow in kinds
        if wanted
    ]
    if any(s.design == AA for s in summaries):
        band = f"{short(run.baseline)} against itself"
        entries.append(Line2D([], [], color=BASELINE_COLOUR, alpha=0.35, lw=7, solid_capstyle="butt", label=band))
    return entries


def _block(run: Run, axes: Axes, left: float, block: Sequence[Summary]) -> None:
    """Draw one metric: its title, and a group of rows for each path."""
    width = WIDTH - left - NUMBERS - VERDICTS
    metric = metrics.known(block[0].metric)
    side = "right is better" if metric.better == "higher" else "left is better"
    title_panel(axes, f"{metrics.title(block[0].metric)}: {side}", left, width)
    low, high = ratio_limits(end for s in block for end in (s.ratio_low, s.ratio_high) if end)
    axes.set(xlim=(low, high), ylim=((_height(block) - HEAD - FOOT) / ROW, 0))
    plain_log(axes.xaxis)
    axes.axvline(1, color=INK, lw=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    y = 0.0
    for path in [path for path in run.paths if any(s.path == path.name for s in block)]:
        rows = [s for arm in run.arms for s in block if (s.path, s.design) == (path.name, arm)]
        axes.text(
            *(edge_of(left, width), y + 0.7, fitted(path.title, left + width - EDGE)),
            transform=axes.get_yaxis_transform(),
            va="center_baseline",
            color=FAINT,
            bbox={"fc": PAPER, "ec": "none", "pad": 1},  # a long title covers the lines of the panel
        )
        y += HEADING
        _band(axes, rows, y)
        for i, s in enumerate(rows):
            _row(run, axes, s, y + 0.5 + i)
        y += len(rows)


def _band(axes: Axes, rows: Sequence[Summary], top: float) -> None:
    """Draw the A/A arm's interval behind all rows of its path."""
    for s in rows:
        if s.design == AA and s.ratio_low and s.ratio_high:
            span = [top + 0.05, top + len(rows) - 0.05]
            axes.fill_betweenx(span, s.ratio_low, s.ratio_high, color=BASELINE_COLOUR, alpha=0.22, lw=0)


def _row(run: Run, axes: Axes, s: Summary, y: float) -> None:
    """Draw one comparison: interval (with an arrow where it exceeds the axis), mark, and text on both sides."""
    how, resolved = looks(run)[s.design], s.verdict in RESOLVED
    low, high = axes.get_xlim()
    ratio, ends = s.ratio or 0, (s.ratio_low or 0, s.ratio_high or 0)
    axes.plot([max(ends[0], low), min(ends[1], high)], [y] * 2, color=how.colour, lw=1.6)
    for arrow, border, is_beyond in (("<", low, ends[0] < low), (">", high, ends[1] > high)):
        if is_beyond:
            axes.plot(border, y, arrow, color=how.colour, ms=5, clip_on=False)
    if low <= ratio <= high:
        axes.plot(ratio, y, ms=6, **how.mark(hollow=not resolved))
    verdict: str = s.verdict
    if not resolved and s.smallest is not None and s.smallest < LARGEST_SHOWN:
        verdict = f"< {words.size(s.smallest)}"
    width = axes.get_position().width * WIDTH
    for x, text, ha, ink in (
        (-0.1 / width, arm_label(run, s.design), "right", INK),
        (1 + NUMBERS / width, words.percent(s.ratio), "right", INK if resolved else FAINT),
        (1 + (NUMBERS + 0.1) / width, verdict, "left", INK if resolved else FAINT),
    ):
        place = axes.get_yaxis_transform()
        axes.text(x, y, text, transform=place, ha=ha, va="center_baseline", color=ink, clip_on=False)
