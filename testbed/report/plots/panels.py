"""A grid of equal panels, one a path."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from testbed.report.plots.sheet import WIDTH, Sheet

HEIGHT = 2.1
"""Of a panel, in inches."""
BELOW = 0.82
"""Between two rows of panels: the upper one's axis and the lower one's title, in inches."""
LEFT = 0.8
"""For the labels of the vertical axis, in inches."""


def grid(title: str, below: str, handles: Sequence[Line2D], count: int) -> tuple[Sheet, list[Axes]]:
    """A sheet with so many panels, two in a row, their axes alike so that panels may be compared."""
    columns = min(2, count)
    rows = -(-count // columns)
    sheet = Sheet(title, below, handles, 0.3 + rows * (HEIGHT + BELOW) - 0.2)
    width = (WIDTH - LEFT - 0.2 - (columns - 1) * 0.3) / columns
    panels: list[Axes] = []
    for i in range(count):
        row, column = divmod(i, columns)
        first = panels[0] if panels else None
        left, top = LEFT + column * (width + 0.3), 0.3 + row * (HEIGHT + BELOW)
        panels.append(sheet.panel(left, top, width, HEIGHT, sharex=first, sharey=first))
        panels[-1].tick_params(labelleft=column == 0)
    return sheet, panels
