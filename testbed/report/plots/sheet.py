"""What all plots share: colours, the title and caption, the legend, the grid of panels, saving.

Everything is laid out in inches from the text that has to fit, so nothing overlaps with 2 designs or 8, one
path or 6. matplotlib's object-oriented interface is used throughout; there is no pyplot state.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from testbed.report import metrics, words
from testbed.report.run import Run

INK = "#1f2328"
FAINT = "#6e7781"
GRID = "#d8dee4"
PAPER = "#ffffff"
"""Four colours that the HTML page replaces by its own, so that an inlined plot follows light and dark."""

BASELINE_COLOUR = "#8a8f98"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999933")
"""The baseline is grey and the rest are of Okabe and Ito's palette, which colour-blind people can tell apart.
Its black and yellow vanish on dark or light paper and are left out; an olive of Paul Tol's is added."""
MARKERS = ("o", "s", "D", "^", "v", "<", ">", "p")

WIDTH = 7.2
"""Inches. Narrow, so that the text stays readable where the plot is shrunk to fit a page or a phone."""
LINE = 0.175
"""Height of a line of small text, in inches."""
LONGEST_NAME = 26

STYLE: Any = {  # matplotlib types the keys of such a table as one enormous Literal
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "svg.hashsalt": "testbed",  # the same plot gives the same file
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.facecolor": PAPER,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": PAPER,
}


@dataclass(frozen=True)
class Look:
    """How a design is drawn in every plot of a report."""

    colour: str
    marker: str


def looks(run: Run) -> dict[str, Look]:
    others = [name for name in run.design_names() if name != run.baseline]
    look = {name: Look(COLOURS[i % len(COLOURS)], MARKERS[(i + 1) % len(MARKERS)]) for i, name in enumerate(others)}
    return look | {run.baseline: Look(BASELINE_COLOUR, MARKERS[0])}


def short(name: str) -> str:
    """The name, cut in its middle where it is too long for a plot."""
    half = LONGEST_NAME // 2 - 1
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def caption(run: Run, probe: str, *notes: str) -> str:
    """What was measured, how often, where; then the notes, and which designs are missing."""
    facts = [
        run.probes.get(probe) or probe,
        f"n = {run.rounds} round" + ("s" if run.rounds != 1 else ""),
        run.kernel,
        f"scenario {run.name}",
    ]
    lost = [f"{design.name} ({design.state})" for design in run.lost_designs()]
    missing = [f"Not measured: {words.listed(lost)}."] if lost else []
    return "\n".join([" · ".join(facts), " ".join(notes), *missing])


class Sheet:
    """A figure of a known width with a title, a caption and a legend on top, and a body below them."""

    def __init__(self, title: str, below: str, handles: Sequence[Line2D], body: float) -> None:
        """`body` is the height in inches that is left for the panels."""
        self.title = textwrap.wrap(title, 70)
        self.caption = [line for text in below.splitlines() for line in textwrap.wrap(text, 112)]
        self.columns = self._legend_columns(handles)
        legend_rows = -(-len(handles) // self.columns) if handles else 0
        self.top = 0.16 + 0.23 * len(self.title) + LINE * len(self.caption) + 0.24 * legend_rows + 0.08
        self.height = self.top + body
        self.figure = Figure(figsize=(WIDTH, self.height))
        self._write(handles)

    @staticmethod
    def _legend_columns(handles: Iterable[Line2D]) -> int:
        longest = max((len(str(handle.get_label())) for handle in handles), default=1)
        return max(1, int((WIDTH - 0.2) / (0.075 * longest + 0.45)))

    def _write(self, handles: Sequence[Line2D]) -> None:
        y = 0.12
        place: dict[str, Any] = {"ha": "left", "va": "top"}
        for text in self.title:
            self.figure.text(0.12 / WIDTH, self.up(y), text, fontsize=11.5, fontweight="bold", **place)
            y += 0.23
        for text in self.caption:
            self.figure.text(0.12 / WIDTH, self.up(y), text, fontsize=8, color=FAINT, **place)
            y += LINE
        if handles:
            self.figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(0.09 / WIDTH, self.up(y)),
                ncols=min(self.columns, len(handles)),
                frameon=False,
                borderaxespad=0.1,
                columnspacing=1.4,
                handletextpad=0.5,
            )

    def up(self, inches_from_top: float) -> float:
        """The height in parts of the figure, as matplotlib counts it from below."""
        return 1 - inches_from_top / self.height

    def panel(self, left: float, top: float, width: float, height: float, **options: Any) -> Axes:
        """Axes at a place in inches, counted from the body's upper left corner."""
        bottom = self.up(self.top + top + height)
        return self.figure.add_axes((left / WIDTH, bottom, width / WIDTH, height / self.height), **options)


def handle(label: str, look: Look, line: str = "none") -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=look.colour, marker=look.marker, ls=line, ms=5, label=short(label))


def name_margin(names: Iterable[str]) -> float:
    """Inches that the longest of the names takes at the left of a panel."""
    return 0.2 + 0.072 * max((len(short(name)) for name in names), default=0)


def plain_log(axis: Axis) -> None:
    """Labels a logarithmic axis, whose limits must be known, with plain numbers: 20, not 2 x 10^1."""
    low, high = axis.get_view_interval()
    narrow = high < 10 * low
    axis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 5, 10]) if narrow else LogLocator(subs=(1.0, 2.0, 5.0), numticks=20)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def axis_label(metric: str, unit: str) -> str:
    return f"{metrics.known(metric).title}, {words.unit(unit)}"


def save(figure: Figure, png: Path, svg: Path) -> None:
    """Writes both files; without dates and versions, so that the same numbers give the same bytes."""
    with mpl.rc_context(STYLE):
        figure.savefig(png, dpi=160, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
