"""Does the difference to the baseline hold in every round?"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from testbed.report import metrics
from testbed.report.plots.lettering import fitted
from testbed.report.plots.panels import HEIGHT, grid
from testbed.report.plots.sheet import INK, STYLE, Look, caption, handles, looks, plain_log, ratio_limits, short
from testbed.report.run import Run
from testbed.report.statistics import Series, ratios

MANY_ROUNDS = 20
"""With more rounds, marks are small."""

Place = tuple[str, str]
"""A path and a cell."""


def question(run: Run, metric: str) -> str:
    return f"{metrics.title(metric)}: does the difference to {short(run.baseline)} hold in every round?"


def draw(run: Run, series: Sequence[Series]) -> Figure:
    """One panel per path and cell, one line per design: its value over the baseline's of the same round."""
    with mpl.rc_context(STYLE):
        metric, look = series[0].metric, looks(run)
        paired = _paired(run, series)
        shown = [(s.path, s.cell) for s, _ in paired]
        paths, cells = [path.name for path in run.paths], [cell.name for cell in run.cells] or [""]
        places = [(path, cell) for path in paths for cell in cells if (path, cell) in shown]
        arms = [name for name in run.arms if any(s.design == name for s, _ in paired)]
        better = "Above" if metrics.known(metric).better == "higher" else "Below"
        note = f"Each round's value divided by the value of {run.baseline} in the same round. {better} 1 is better."
        sheet, panels = grid(
            question(run, metric), caption(run, series, note), handles(run, arms), _titles(run, places)
        )
        for axes, place in zip(panels, places, strict=True):
            _lines(axes, [(s, by_round) for s, by_round in paired if (s.path, s.cell) == place], look)
        panels[0].set_ylim(*ratio_limits(value for _, by_round in paired for value in by_round.values()))
        plain_log(panels[0].yaxis)
        for axes in panels[::2]:
            axes.set_ylabel(fitted(f"{metrics.title(metric)}, ratio, logarithmic", HEIGHT))
        return sheet.figure


def is_drawable(run: Run, series: Sequence[Series]) -> bool:
    """Whether any series can be paired with the baseline."""
    return bool(_paired(run, series))


def _paired(run: Run, series: Sequence[Series]) -> list[tuple[Series, Mapping[int, float]]]:
    """Each series with its ratios by round, without zeros, which a logarithmic axis cannot show."""
    baselines = {(s.path, s.cell): s for s in series if s.design == run.baseline}
    others = [s for s in series if s.design != run.baseline and (s.path, s.cell) in baselines]
    found = [(s, {n: r for n, r in ratios(s, baselines[s.path, s.cell]).items() if r > 0}) for s in others]
    return [(s, by_round) for s, by_round in found if by_round]


def _titles(run: Run, places: Sequence[Place]) -> list[tuple[str, ...]]:
    titles = {path.name: path.title for path in run.paths}
    return [(titles[path], cell) if cell else (titles[path],) for path, cell in places]


def _lines(axes: Axes, paired: Sequence[tuple[Series, Mapping[int, float]]], look: dict[str, Look]) -> None:
    axes.axhline(1, color=INK, lw=1)
    for one, by_round in paired:
        how = look[one.design]
        size = 5 if len(by_round) <= MANY_ROUNDS else 2.5
        axes.plot(list(by_round), list(by_round.values()), ls=how.line, lw=1.2, ms=size, **how.mark())
    axes.set_yscale("log")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(length=0)
