"""Shared parts of all plots: colours, title and caption, legend, panels, saving.

The layout is in inches and follows from the width of the texts, so nothing overlaps with any number of designs and
paths. Only matplotlib's object-oriented interface is used, no pyplot state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from testbed.experiment.results import LAB
from testbed.report import metrics, words
from testbed.report.plots.lettering import HEADING, SMALL, TEXT, TITLE, fitted, text_width, wrapped
from testbed.report.run import Run
from testbed.spec.scenario import AA

INK = "#1f2328"
FAINT = "#6e7781"
GRID = "#d8dee4"
PAPER = "#ffffff"
"""The HTML page replaces these four colours by its own, so that inlined plots follow light and dark."""

BASELINE_COLOUR = "#8a8f98"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999933")
"""The baseline is grey; the others are Okabe and Ito's palette, which colour-blind people can distinguish. Its black
and yellow are invisible on dark or light paper and are omitted; an olive of Paul Tol's is added."""
MARKERS = ("o", "s", "D", "^", "v", "<", ">", "p")

EDGE = 0.12
"""Around everything, in inches."""
WIDTH = 7.2
"""Inches. Narrow, so that text stays readable if the plot is scaled down to a page or a phone."""
LINE = 0.175
"""Height of a line of small text, in inches."""
LONGEST_NAME = 26
DPI = 160
"""Resolution of PNG files."""
PALETTE = 128
"""Number of colours of PNG files."""
LEGEND_ROW = 0.19
"""Height of a legend's row, in inches."""
WIDEST_RATIO = 20.0
"""An axis of ratios is limited to this and its inverse; intervals beyond end with an arrow."""

STYLE: Any = {  # matplotlib types the keys as one enormous Literal
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "svg.hashsalt": "testbed",  # the same plot gives the same file
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.size": TEXT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlesize": HEADING,
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


class Measured(Protocol):
    """A series, a summary or a histogram."""

    @property
    def cell(self) -> str: ...
    @property
    def probe(self) -> str: ...


@dataclass(frozen=True)
class Look:
    """How a design is drawn in every plot of a report."""

    colour: str
    marker: str
    line: str = "-"
    hollow: bool = False

    def mark(self, hollow: bool = False) -> dict[str, Any]:
        """matplotlib options of a mark: with a rim in the paper's colour, or hollow."""
        if hollow or self.hollow:
            return {"marker": self.marker, "color": self.colour, "mfc": PAPER, "mec": self.colour, "mew": 1.1}
        return {"marker": self.marker, "color": self.colour, "mfc": self.colour, "mec": PAPER, "mew": 0.6}


def looks(run: Run) -> dict[str, Look]:
    """Looks by arm. The A/A arm looks like the baseline, but hollow and dashed."""
    others = [name for name in run.design_names() if name != run.baseline]
    look = {name: Look(COLOURS[i % len(COLOURS)], MARKERS[(i + 1) % len(MARKERS)]) for i, name in enumerate(others)}
    again = Look(BASELINE_COLOUR, MARKERS[0], "--", hollow=True)
    return look | {run.baseline: Look(BASELINE_COLOUR, MARKERS[0]), AA: again}


def arm_label(run: Run, name: str) -> str:
    """The label of a design, or of the A/A arm, in plots."""
    return short(run.arm_title(name))


def short(name: str) -> str:
    """The name, shortened in its middle if it is too long for a plot."""
    half = LONGEST_NAME // 2 - 1
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _legend_columns(labels: Sequence[str]) -> int:
    """The largest number of columns that fit. Entries fill the columns in turn; a column is as wide as its widest."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        widest = [max(map(text_width, labels[i : i + rows])) for i in range(0, len(labels), rows)]
        if sum(widest) + 0.5 * len(widest) <= WIDTH - 2 * EDGE:
            return len(widest)
    return 1


def question_at(question: str, some: Iterable[Measured]) -> str:
    """The question, with the cell of a sweep if all of `some` are of one cell."""
    cell = _only_cell(some)
    return f"{question} ({cell})" if cell else question


def _only_cell(some: Iterable[Measured]) -> str:
    cells = {one.cell for one in some}
    return cells.pop() if len(cells) == 1 else ""


def caption(run: Run, some: Iterable[Measured], *notes: str) -> str:
    """Probes, number of rounds, kernel and scenario; then the notes."""
    probes = run.probes | {LAB: "the lab's own clock and memory"}
    facts = [
        *dict.fromkeys(probes.get(one.probe) or one.probe for one in some),
        f"n = {run.rounds} round" + ("s" if run.rounds != 1 else ""),
        run.kernel,
        f"scenario {run.name}",
    ]
    return "\n".join([" · ".join(facts), " ".join(notes)])


class Sheet:
    """A figure of fixed width with title, caption and legend on top, and a body below them."""

    def __init__(self, title: str, below: str, handles: Sequence[Line2D], body: float) -> None:
        """`body` is the height of the panels' area, in inches."""
        inside = WIDTH - 2 * EDGE
        self.title = wrapped(title, inside, TITLE, bold=True)
        self.caption = [line for text in below.splitlines() for line in wrapped(text, inside, SMALL)]
        self.columns = _legend_columns([str(handle.get_label()) for handle in handles])
        legend = LEGEND_ROW * -(-len(handles) // self.columns) + 0.06 if handles else 0
        self.top = 0.16 + 0.23 * len(self.title) + LINE * len(self.caption) + legend + 0.1
        self.height = self.top + body
        self.figure = Figure(figsize=(WIDTH, self.height))
        self._write(handles)

    def _write(self, handles: Sequence[Line2D]) -> None:
        y = 0.12
        place: dict[str, Any] = {"ha": "left", "va": "top"}
        for text in self.title:
            self.figure.text(EDGE / WIDTH, self.up(y), text, fontsize=TITLE, fontweight="bold", **place)
            y += 0.23
        for text in self.caption:
            self.figure.text(EDGE / WIDTH, self.up(y), text, fontsize=SMALL, color=FAINT, **place)
            y += LINE
        if handles:
            self.figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=((EDGE - 0.03) / WIDTH, self.up(y)),
                ncols=self.columns,
                frameon=False,
                borderaxespad=0.1,
                columnspacing=1.4,
                handletextpad=0.5,
            )

    def up(self, inches_from_top: float) -> float:
        """The height as a fraction of the figure from its bottom, as in matplotlib."""
        return 1 - inches_from_top / self.height

    def panel(self, left: float, top: float, width: float, height: float, **options: Any) -> Axes:
        """Axes at a position in inches from the body's upper left corner."""
        bottom = self.up(self.top + top + height)
        return self.figure.add_axes((left / WIDTH, bottom, width / WIDTH, height / self.height), **options)


def handles(run: Run, arms: Iterable[str], lines: bool = True, marks: bool = True) -> list[Line2D]:
    """The legend's entries for designs, as lines, marks or both."""
    found = []
    for name in arms:
        look = looks(run)[name]
        options = look.mark() if marks else {"color": look.colour}
        entry = Line2D([], [], ls=look.line if lines else "none", ms=5, label=arm_label(run, name), **options)
        found.append(entry)
    return found


def name_margin(labels: Iterable[str]) -> float:
    """The width of the widest label at the left of a panel, in inches."""
    return 0.25 + max((text_width(label) for label in labels), default=0)


def title_panel(axes: Axes, text: str, left: float, width: float, **options: Any) -> None:
    """Set the title of a panel that begins `left` inches from the figure's edge; the title begins at the margin."""
    axes.set_title(fitted(text, left + width - EDGE, HEADING, bold=True), x=edge_of(left, width), **options)


def edge_of(left: float, width: float) -> float:
    """The figure's left margin in a panel's coordinates, in widths of the panel."""
    return (EDGE - left) / width


def ratio_limits(ends: Iterable[float]) -> tuple[float, float]:
    """Limits of an axis of ratios that contains 1 and all of `ends`, up to WIDEST_RATIO. `ends` must be positive."""
    found = [min(max(end, 1 / WIDEST_RATIO), WIDEST_RATIO) for end in (0.99, 1.01, *ends)]
    margin = (max(found) / min(found)) ** 0.06
    return min(found) / margin, max(found) * margin


def plain_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: 20, not 2 x 10^1. Its limits must be set already."""
    low, high = axis.get_view_interval()
    room = _room(axis)
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(min(6, max(int(room), 2)), steps=[1, 2, 5, 10]))
    else:
        decades = np.log10(high / low)
        dense = [subs for subs in ((1.0, 2.0, 5.0), (1.0, 3.0)) if decades * len(subs) <= room]
        # numticks: with more decades, the locator skips some
        axis.set_major_locator(LogLocator(subs=(*dense, (1.0,))[0], numticks=max(int(room), 2)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _room(axis: Axis) -> float:
    """The number of tick labels that fit on the axis."""
    place = axis.axes.get_position()
    if isinstance(axis, YAxis):
        figure = axis.axes.get_figure(root=True)
        assert figure is not None
        return float(figure.get_figheight() * place.height) / 0.2
    return WIDTH * place.width / (text_width(f"{axis.get_view_interval()[1]:.0f}") + 0.12)


def axis_label(metric: str, unit: str) -> str:
    return f"{metrics.title(metric)}, {words.unit(unit)}"


def save(figure: Figure, png: Path, svg: Path) -> None:
    """Write both files, without dates and versions, so that the same numbers give the same bytes."""
    drawn = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format="png", dpi=DPI)
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    write_png(drawn, png)


def write_png(drawn: BinaryIO, file: Path) -> None:
    """Write an image with a palette, which takes a third of the space: plots have few colours."""
    with Image.open(drawn) as image:
        flat = image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
        flat.save(file, "PNG", optimize=True)
