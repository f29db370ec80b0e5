"""Does the difference to the baseline hold in every round?"""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from testbed.report import metrics
from testbed.report.plots.panels import grid
from testbed.report.plots.sheet import INK, STYLE, Look, caption, handle, looks, plain_log
from testbed.report.run import Run
from testbed.report.statistics import Series, ratios


def question(run: Run, metric: str) -> str:
    return f"{metrics.title(metric)}: does the difference to {run.baseline} hold in every round?"


def draw(run: Run, series: Sequence[Series]) -> Figure:
    """One panel a path, one line a design: its value over the baseline's of the same round."""
    with mpl.rc_context(STYLE):
        metric, look = series[0].metric, looks(run)
        baselines = {s.path: s for s in series if s.design == run.baseline}
        paired = [(s, ratios(s, baselines[s.path])) for s in series if s.path in baselines]
        paired = [(s, by_round) for s, by_round in paired if by_round and s.design != run.baseline]
        paths = [path for path in run.paths if any(s.path == path.name for s, _ in paired)]
        designs = [name for name in run.design_names() if any(s.design == name for s, _ in paired)]
        better = "Above" if metrics.known(metric).better == "higher" else "Below"
        note = f"Each round's value over the value of {run.baseline} in the same round. {better} 1 is better."
        handles = [handle(name, look[name], "-") for name in designs]
        sheet, panels = grid(question(run, metric), caption(run, series[0].probe, note), handles, len(paths))
        for axes, path in zip(panels, paths, strict=True):
            axes.set_title(path.title)
            _lines(axes, [(s, by_round) for s, by_round in paired if s.path == path.name], look)
        plain_log(panels[0].yaxis)
        panels[0].set_ylabel(f"{metrics.title(metric)}, ratio, logarithmic")
        return sheet.figure


def _lines(axes: Axes, paired: Sequence[tuple[Series, dict[int, float]]], look: dict[str, Look]) -> None:
    axes.axhline(1, color=INK, lw=1)
    for one, by_round in paired:
        how = look[one.design]
        size = 5 if len(by_round) <= 20 else 2.5
        axes.plot(
            *(list(by_round), list(by_round.values())),
            color=how.colour,
            marker=how.marker,
            ms=size,
            mec="white",
            mew=0.5,
            lw=1.2,
        )
    axes.set_yscale("log")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(length=0)
