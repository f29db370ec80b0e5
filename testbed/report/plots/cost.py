"""Cost in CPU time: throughput, or a rate, over the CPU time that it takes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from testbed.report import metrics, words
from testbed.report.plots.lettering import fitted
from testbed.report.plots.panels import HEIGHT, bottom_panels, grid
from testbed.report.plots.sheet import FAINT, STYLE, Look, axis_label, caption, handles, looks, plain_log, question_at
from testbed.report.run import Run
from testbed.report.statistics import Summary


@dataclass(frozen=True)
class Cost:
    """A gain and its price; metrics as in samples.csv."""

    gain: str
    price: str
    question: str


COSTS = (
    Cost("throughput", "cpu_per_gbit", "What does a Gbit cost in CPU time?"),
    Cost("connections", "cpu_per_request", "What does a new connection cost in CPU time?"),
    Cost("transactions", "cpu_per_request", "What does a transaction cost in CPU time?"),
)

WIDE = 10.0
"""Values that span more than this factor get a logarithmic axis."""
LOGARITHMIC = {
    (False, False): "",
    (True, False): " The CPU time axis is logarithmic.",
    (False, True): " The vertical axis is logarithmic.",
    (True, True): " Both axes are logarithmic.",
}

Bought = tuple[Summary, Summary]
"""The gain and the price of one design on one path."""


def question(bought: Sequence[Bought]) -> str:
    return question_at(_cost(bought).question, _gains(bought))


def _cost(bought: Sequence[Bought]) -> Cost:
    return next(cost for cost in COSTS if cost.gain == metrics.bare(bought[0][0].metric))


def _gains(bought: Sequence[Bought]) -> list[Summary]:
    return [gain for gain, _ in bought]


def pairs(summaries: Sequence[Summary]) -> Iterator[tuple[Bought, ...]]:
    """All gains with their prices, for each probe that measured both."""
    for cost in COSTS:
        of_gain = [s for s in summaries if s.metric.rpartition("/")[2] == cost.gain]
        prices = {_key(s): s for s in summaries if s.metric.rpartition("/")[2] == cost.price}
        for probe in dict.fromkeys(s.probe for s in of_gain):
            found = tuple((s, prices[_key(s)]) for s in of_gain if s.probe == probe and _key(s) in prices)
            if found:
                yield found


def _key(s: Summary) -> tuple[str, str, str, str]:
    return s.cell, s.path, s.design, s.probe


def draw(run: Run, bought: Sequence[Bought]) -> Figure:
    """One panel per path, one mark per design with both intervals; `bought` is one of the `pairs`."""
    with mpl.rc_context(STYLE):
        gains = _gains(bought)
        paths = [path for path in run.paths if any(s.path == path.name for s in gains)]
        arms = [name for name in run.arms if any(s.design == name for s in gains)]
        kind = words.kind([s for pair in bought for s in pair])
        wide = _is_wide(price.median for _, price in bought), _is_wide(gain.median for gain in gains)
        note = f"Marks: medians. Lines: {kind} of each. Up and left is better. CPU time is of all CPUs."
        sheet, panels = grid(
            question(bought),
            caption(run, gains, note + LOGARITHMIC[wide]),
            handles(run, arms, lines=False),
            [(path.title,) for path in paths],
        )
        look = looks(run)
        panels[0].set(**{f"{axis}scale": "log" for axis, is_log in zip("xy", wide, strict=True) if is_log})
        for axes, path in zip(panels, paths, strict=True):
            _marks(axes, {gain.design: (gain, price) for gain, price in bought if gain.path == path.name}, look)
        gain, price = bought[0]
        panels[0].margins(0.12)
        for axis, is_log in zip((panels[0].xaxis, panels[0].yaxis), wide, strict=True):
            if is_log:
                plain_log(axis)
            else:
                axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        for axes in panels[::2]:
            axes.set_ylabel(fitted(axis_label(gain.metric, gain.unit), HEIGHT))
        for axes in bottom_panels(panels):
            axes.set_xlabel(axis_label(price.metric, price.unit))
        return sheet.figure


def _is_wide(medians: Iterable[float]) -> bool:
    """Whether differences between small values would be invisible on a linear axis."""
    some = list(medians)
    return 0 < WIDE * min(some) < max(some)


def _marks(axes: Axes, here: Mapping[str, Bought], look: dict[str, Look]) -> None:
    axes.text(0.02, 0.97, "↖ better", transform=axes.transAxes, va="top", color=FAINT, fontsize=8)
    for design, (gain, price) in here.items():
        how = look[design]
        across = [price.ci_low, price.ci_high], [gain.median] * 2
        upright = [price.median] * 2, [gain.ci_low, gain.ci_high]
        for line in (across, upright):
            axes.plot(*line, color=how.colour, lw=1.2, ls=how.line, alpha=0.8)
        axes.plot(price.median, gain.median, ls="none", ms=6.5, **how.mark())
    axes.tick_params(length=0)
