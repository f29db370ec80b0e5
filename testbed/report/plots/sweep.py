"""How a metric, and its ratio to the baseline, change with a swept factor."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.report import metrics, words
from testbed.report.plots.factors import Factor, factors, lay_axis
from testbed.report.plots.lettering import HEADING, fitted
from testbed.report.plots.sheet import (
    BASELINE_COLOUR,
    INK,
    STYLE,
    WIDTH,
    Look,
    Sheet,
    axis_label,
    caption,
    handles,
    looks,
    plain_log,
    ratio_limits,
    short,
)
from testbed.report.run import Path, Run
from testbed.report.statistics import RESOLVED, Summary
from testbed.spec.scenario import AA

MAX_ROWS = 6
"""Maximum rows of panels in a figure."""
HEIGHT = 1.75
"""Height of a panel, in inches."""
STEP = HEIGHT + 0.55
"""From one row of panels to the next, in inches."""
LEFT = 0.75
"""For the labels of a vertical axis, in inches."""
DODGE = 0.3
"""Total distance between the designs of one category, in categories."""
SHADE = 0.13
"""Opacity of an interval's band."""


@dataclass(frozen=True)
class Page:
    """The content of one figure: one metric, on all paths or on one."""

    summaries: tuple[Summary, ...]
    path: str
    """Empty: all."""

    @property
    def metric(self) -> str:
        return self.summaries[0].metric


@dataclass(frozen=True)
class Row:
    """The content of two panels: one path, with the other factors at these values."""

    path: Path
    settings: tuple[tuple[str, str], ...]
    cells: dict[str, str]
    """The value of the axis' factor, by cell name."""

    @property
    def title(self) -> str:
        return ", ".join([self.path.title, *(f"{_last(path)}={value}" for path, value in self.settings)])


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def question(run: Run, page: Page) -> str:
    on = f" on {page.path}" if page.path else ""
    return f"{metrics.title(page.metric)}{on}: how does it change with {_last(factors(run)[0].path)}?"


def pages(run: Run, summaries: Sequence[Summary]) -> Iterator[Page]:
    """For each main metric, one page with all paths; one page per path if these are too many rows for a figure."""
    for metric in dict.fromkeys(s.metric for s in summaries if metrics.known(s.metric).main):
        some = tuple(s for s in summaries if s.metric == metric)
        if len({s.cell for s in some}) < 2 or not factors(run):
            continue
        measured = {s.path for s in some}
        if len(measured) == 1 or len(_rows(run, some)) <= MAX_ROWS:
            yield Page(some, "")
        else:
            names = (path.name for path in run.paths if path.name in measured)
            yield from (Page(tuple(s for s in some if s.path == name), name) for name in names)


def _rows(run: Run, some: Sequence[Summary]) -> list[Row]:
    axis = factors(run)[0].path
    measured = {(s.path, s.cell) for s in some}
    rows = []
    for path in run.paths:
        by_setting: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for cell in (cell for cell in run.cells if (path.name, cell.name) in measured):
            others = tuple((f.path, cell.factors[f.path]) for f in factors(run)[1:])
            by_setting.setdefault(others, {})[cell.name] = cell.factors[axis]
        rows += [Row(path, settings, cells) for settings, cells in by_setting.items()]
    return rows


def draw(run: Run, page: Page) -> Figure:
    """Values at the left, ratios to the baseline at the right."""
    with mpl.rc_context(STYLE):
        summaries, axis = page.summaries, factors(run)[0]
        rows = _rows(run, summaries)
        shown, left_out = rows[:MAX_ROWS], rows[MAX_ROWS:]
        compared = any(s.ratio is not None and s.verdict != "baseline" for s in summaries)
        arms = [name for name in run.arms if any(s.design == name for s in summaries)]
        note = _note(run, summaries, axis, compared)
        lost = f"Not shown: {words.listed([row.title for row in left_out])}." if left_out else ""
        sheet = Sheet(
            question(run, page),
            caption(run, summaries, note, lost),
            _legend(run, arms, compared),
            0.3 + len(shown) * STEP + 0.1,
        )
        limits = ratio_limits(
            e for s in summaries for e in (s.ratio_low, s.ratio_high) if s.verdict != "baseline" and e
        )
        for i, row in enumerate(shown):
            here = [s for s in summaries if s.path == row.path.name and s.cell in row.cells]
            last = i == len(shown) - 1
            panels = _panels(sheet, 0.3 + i * STEP, row, axis, compared, last)
            _values(panels[0], _lines(run, here, row, axis, arms), axis)
            panels[0].set_ylabel(fitted(axis_label(page.metric, summaries[0].unit), HEIGHT))
            for axes in panels[1:]:
                _ratios(axes, _lines(run, here, row, axis, arms), axis, limits)
                axes.set_ylabel(fitted(f"ratio to {short(run.baseline)}", HEIGHT))
        return sheet.figure


def _note(run: Run, summaries: Sequence[Summary], axis: Factor, compared: bool) -> str:
    better = metrics.known(summaries[0].metric).better
    parts = [f"Marks: medians. {'Bands' if axis.is_numeric else 'Lines'}: {words.kind(summaries)}."]
    if better:
        parts.append(f"{'More' if better == 'higher' else 'Less'} is better.")
    if compared:
        parts.append(f"Right: the ratio to {run.baseline} in the same round; hollow where not resolved.")
    return " ".join(parts)


def _legend(run: Run, arms: Sequence[str], compared: bool) -> list[Line2D]:
    entries = handles(run, [name for name in arms if name != AA])
    if AA in arms and compared:
        label = f"{short(run.baseline)} against itself"
        entries.append(Line2D([], [], color=BASELINE_COLOUR, alpha=0.35, lw=7, solid_capstyle="butt", label=label))
    return entries


def _panels(sheet: Sheet, top: float, row: Row, axis: Factor, compared: bool, last: bool) -> list[Axes]:
    count = 2 if compared else 1
    width = (WIDTH - 0.2) / count - LEFT
    panels = [sheet.panel(LEFT + i * (LEFT + width), top, width, HEIGHT) for i in range(count)]
    for axes in panels:
        lay_axis(axes, axis, labelled=True)
        if last:
            how = ", logarithmic" if axis.is_wide else ""
            axes.set_xlabel(fitted(axis.path, width - 0.9) + how)
    panels[0].set_title(fitted(row.title, WIDTH - LEFT - 0.2, HEADING, bold=True))
    return panels


@dataclass(frozen=True)
class Line:
    """One design's summaries along the axis."""

    design: str
    look: Look
    places: list[float]
    summaries: list[Summary]


def _lines(run: Run, here: Sequence[Summary], row: Row, axis: Factor, arms: Sequence[str]) -> list[Line]:
    """Lines with points in the axis' order; in a category, designs are side by side."""
    look, found = looks(run), []
    for i, name in enumerate(arms):
        own = {axis.place(row.cells[s.cell]): s for s in here if s.design == name}
        aside = 0.0 if axis.is_numeric or name == AA else DODGE * (i / max(len(run.designs) - 1, 1) - 0.5)
        if own:
            places = sorted(own)
            found.append(Line(name, look[name], [place + aside for place in places], [own[place] for place in places]))
    return found


def _values(axes: Axes, lines: Sequence[Line], axis: Factor) -> None:
    for line in lines:
        if line.design != AA:
            spans = [(s.ci_low, s.ci_high) for s in line.summaries]
            _spread(axes, line, spans, axis)
            axes.plot(line.places, [s.median for s in line.summaries], lw=1.4, ms=4.5, **line.look.mark())
    ends = [end for line in lines for s in line.summaries for end in (s.ci_low, s.ci_high)]
    if min(ends) > 0 and max(ends) > 10 * min(ends):
        axes.set_yscale("log")
        plain_log(axes.yaxis)


def _ratios(axes: Axes, lines: Sequence[Line], axis: Factor, limits: tuple[float, float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    plain_log(axes.yaxis)
    axes.axhline(1, color=INK, lw=1)
    for line in lines:
        known = [(place, s) for place, s in zip(line.places, line.summaries, strict=True) if s.ratio and s.ratio_low]
        if not known or known[0][1].verdict == "baseline":
            continue
        compared = Line(line.design, line.look, [place for place, _ in known], [s for _, s in known])
        _spread(axes, compared, [(s.ratio_low or 0, s.ratio_high or 0) for s in compared.summaries], axis)
        if line.design == AA:
            continue
        axes.plot(compared.places, [s.ratio or 0 for s in compared.summaries], color=line.look.colour, lw=1.4)
        for place, s in known:
            resolved = s.verdict in RESOLVED
            axes.plot(place, s.ratio or 0, ls="none", ms=4.5, **line.look.mark(hollow=not resolved))


def _spread(axes: Axes, line: Line, spans: Iterable[tuple[float, float]], axis: Factor) -> None:
    """Draw intervals: a band over numbers, vertical lines over categories; darker for A/A, which has no other mark."""
    low, high = zip(*spans, strict=True)
    if axis.is_numeric:
        shade = 2.2 * SHADE if line.design == AA else SHADE
        axes.fill_between(line.places, low, high, color=line.look.colour, alpha=shade, lw=0)
    elif line.design == AA:
        for place, bottom, top in zip(line.places, low, high, strict=True):
            around = [place - DODGE, place + DODGE]
            axes.fill_between(around, bottom, top, color=line.look.colour, alpha=2.2 * SHADE, lw=0)
    else:
        axes.vlines(line.places, low, high, color=line.look.colour, lw=1.6)
