"""A grid of equal panels, one per path, or in a sweep one per path and cell."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from testbed.report.plots.lettering import HEADING, fitted
from testbed.report.plots.sheet import WIDTH, Sheet

HEIGHT = 2.1
"""Height of a panel, in inches."""
BELOW = 0.82
"""Between two rows of panels: the upper one's axis and the lower one's title, in inches."""
LEFT = 0.8
"""For the labels of the vertical axis, in inches."""
BETWEEN = 0.3
"""Between two panels in a row, in inches."""


def grid(
    title: str, below: str, handles: Sequence[Line2D], titles: Sequence[tuple[str, ...]]
) -> tuple[Sheet, list[Axes]]:
    """A sheet with a panel for each title, two panels in a row. Titles are tuples of lines. All panels share axes."""
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    lines = max(len(title) for title in titles) - 1
    step, head = HEIGHT + BELOW + 0.16 * lines, 0.3 + 0.16 * lines
    sheet = Sheet(title, below, handles, head + rows * step - 0.16 * lines - 0.2)
    width = (WIDTH - LEFT - 0.2 - (columns - 1) * BETWEEN) / columns
    panels: list[Axes] = []
    for i, text in enumerate(titles):
        row, column = divmod(i, columns)
        first = panels[0] if panels else None
        left, top = LEFT + column * (width + BETWEEN), head + row * step
        axes = sheet.panel(left, top, width, HEIGHT, sharex=first, sharey=first)
        axes.set_title("\n".join(fitted(line, width, HEADING, bold=True) for line in text))
        axes.tick_params(labelleft=column == 0)
        panels.append(axes)
    return sheet, panels


def bottom_panels(panels: Sequence[Axes]) -> Sequence[Axes]:
    """Panels without a panel below them."""
    return panels[-min(2, len(panels)) :]
