"""A swept factor as an axis: numeric if its values are numbers of one kind, else categories."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from testbed.report.plots.lettering import TEXT, fitted, text_width
from testbed.report.plots.sheet import WIDTH
from testbed.report.run import Run

WIDE_SPAN = 10
"""Values that span more than this factor get a logarithmic axis."""

UNITS = {
    "": ("", 1.0),
    "%": ("%", 1.0),
    "B": ("B", 1.0),
    "KB": ("B", 1e3),
    "MB": ("B", 1e6),
    "KiB": ("B", 1024.0),
    "MiB": ("B", 1024.0**2),
    "kbit": ("bit", 1e3),
    "Mbit": ("bit", 1e6),
    "Gbit": ("bit", 1e9),
    "ms": ("s", 1e-3),
    "s": ("s", 1.0),
    "min": ("s", 60.0),
}
"""Units of a scenario: base unit and size in it."""


@dataclass(frozen=True)
class Factor:
    """One swept setting."""

    path: str
    """Dotted, such as `topology.fabric.mtu`."""
    values: tuple[str, ...]
    """As the user wrote them; numbers ascending, else in the scenario's order."""
    places: tuple[float, ...]
    """The position of each value on the axis."""
    is_numeric: bool

    @property
    def is_wide(self) -> bool:
        """Whether a linear axis would crowd its values."""
        positive = [place for place in self.places if place > 0]
        return self.is_numeric and bool(positive) and max(positive) > WIDE_SPAN * min(positive)

    def place(self, value: str) -> float:
        return self.places[self.values.index(value)]


def factors(run: Run) -> tuple[Factor, ...]:
    """The factors with more than one value, numeric ones first; the first is for the axis."""
    paths = dict.fromkeys(path for cell in run.cells for path in cell.factors)
    found = [_factor(path, tuple(dict.fromkeys(cell.factors[path] for cell in run.cells))) for path in paths]
    return tuple(sorted((f for f in found if len(f.values) > 1), key=lambda f: not f.is_numeric))


def _factor(path: str, values: tuple[str, ...]) -> Factor:
    numbers = {value: _number(value) for value in values}
    kinds = {number[0] if number else None for number in numbers.values()}
    known = {value: number[1] for value, number in numbers.items() if number}
    if len(kinds) == 1 and len(set(known.values())) == len(values):
        ascending = tuple(sorted(values, key=known.__getitem__))
        return Factor(path, ascending, tuple(known[value] for value in ascending), True)
    return Factor(path, values, tuple(map(float, range(len(values)))), False)


def _number(text: str) -> tuple[str, float] | None:
    """A value's base unit and size in it; None if it is not a number with a known unit or without unit."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z%]*)", text.replace("_", ""))
    if match is None or match[2] not in UNITS:
        return None
    kind, size = UNITS[match[2]]
    return kind, float(match[1]) * size


def lay_axis(axes: Axes, factor: Factor, labelled: bool) -> None:
    """Set the panel's horizontal axis to the factor, with the values as ticks; overlapping labels are omitted."""
    low, high = min(factor.places), max(factor.places)
    if factor.is_wide:
        if low > 0:
            axes.set_xscale("log")
            axes.set_xlim(low * (low / high) ** 0.06, high * (high / low) ** 0.06)
        else:  # a logarithmic axis that can show 0
            least = min(place for place in factor.places if place > 0)
            axes.set_xscale("symlog", linthresh=least, linscale=0.6)
            axes.set_xlim(-least / 4, high * 1.5)
    else:
        margin = (high - low) * (0.06 if factor.is_numeric else 0.25)
        axes.set_xlim(low - margin, high + margin)
    axes.set_xticks(factor.places, _tick_labels(axes, factor) if labelled else [""] * len(factor.places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0)


def _tick_labels(axes: Axes, factor: Factor) -> Sequence[str]:
    to_inches = axes.get_position().width * WIDTH
    right_end, labels = float("-inf"), []
    for value, place in zip(factor.values, factor.places, strict=True):
        text = fitted(value, to_inches / len(factor.values) if not factor.is_numeric else 1.0)
        x, _ = axes.transAxes.inverted().transform(axes.transData.transform((place, 1)))
        half = text_width(text, TEXT) / 2
        free = x * to_inches - half > right_end + 0.06
        labels.append(text if free else "")
        right_end = x * to_inches + half if free else right_end
    return labels
