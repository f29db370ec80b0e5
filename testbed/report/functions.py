"""Where instructions go: functions.csv of a results folder as tables by layer, and as differences of two designs."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "functions.csv"
"""Written by `testbed.counting.count`."""
NAMED = 3
"""The number of functions that are named for a layer."""
REMAINDER = "not traced"
"""What the tracer does not see: entry to the kernel, switches of tasks, and functions that it may not trace."""


@dataclass(frozen=True)
class Function:
    """A function as called by one stack of callers; numbers are for one round trip."""

    stack: tuple[str, ...]
    layer: str
    calls: float
    instructions: float


@dataclass(frozen=True)
class Walk:
    """All functions of a round trip of TCP with 64 bytes on one path."""

    cell: str
    design: str
    path: str
    functions: tuple[Function, ...]
    total: float
    """The instructions of the round trip, counted without the tracer."""

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.cell, self.design, self.path)))

    @property
    def layers(self) -> dict[str, float]:
        """Instructions by layer, the largest first; last, those that the tracer does not see."""
        found = _summed((function.layer, function.instructions) for function in self.functions)
        return {**dict(_largest(found)), REMAINDER: self.total - sum(found.values())}

    @property
    def accounted(self) -> float:
        """The fraction of the total that is in functions."""
        return 1 - self.layers[REMAINDER] / self.total

    def by_name(self, layer: str) -> dict[str, float]:
        """Instructions of a layer's functions, by name."""
        return _summed((each.stack[-1], each.instructions) for each in self.functions if each.layer == layer)


def _summed(items: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in items:
        found[name] = found.get(name, 0.0) + value
    return found


def _largest(found: Mapping[str, float]) -> list[tuple[str, float]]:
    """Names and values, the largest first; of differences, the largest in either direction."""
    return sorted(found.items(), key=lambda item: -abs(item[1]))


def read_walks(folder: Path, totals: dict[tuple[str, str, str], float]) -> tuple[Walk, ...]:
    """The walks in a results folder; `totals` are the counts of a round trip by cell, design and path."""
    file = folder / FILE
    found: dict[tuple[str, str, str], list[Function]] = {}
    if file.is_file():
        for row in csv.DictReader(file.read_text().splitlines()):
            where = row["cell"], row["design"], row["path"]
            stack = tuple(row["stack"].split(";"))
            function = Function(stack, row["layer"], float(row["calls"]), float(row["instructions"]))
            found.setdefault(where, []).append(function)
    return tuple(Walk(*where, tuple(some), totals[where]) for where, some in found.items() if where in totals)


def table(walk: Walk) -> Iterator[str]:
    """Instructions by layer, with the costliest functions of each."""
    yield f"{walk.name}: {walk.total:,.0f} instructions a TCP round trip of 64 B, {walk.accounted:.1%} in functions"
    for layer, instructions in walk.layers.items():
        largest = _largest(walk.by_name(layer))[:NAMED]
        named = ", ".join(f"{name} {value:,.0f}" for name, value in largest)
        yield f"  {layer:20} {instructions:9,.0f} {instructions / walk.total:6.1%}  {named}".rstrip()


def difference(one: Walk, other: Walk) -> Iterator[str]:
    """What `other` executes more or less than `one`, by layer, the largest difference first."""
    yield f"{other.name} against {one.name}: {other.total - one.total:+,.0f} instructions"
    before, after = one.layers, other.layers
    for layer, change in _largest(_minus(after, before)):
        largest = _largest(_minus(other.by_name(layer), one.by_name(layer)))[:NAMED]
        named = ", ".join(f"{name} {value:+,.0f}" for name, value in largest if round(value))
        yield f"  {layer:20} {change:+9,.0f}  {named}".rstrip()


def _minus(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: after.get(name, 0.0) - before.get(name, 0.0) for name in (*before, *after)}


def lines(walks: Sequence[Walk]) -> Iterator[str]:
    """All tables; then the difference of each design from the first one on the same path."""
    for walk in walks:
        yield from table(walk)
        yield ""
    firsts: dict[tuple[str, str], Walk] = {}
    for walk in walks:
        first = firsts.setdefault((walk.cell, walk.path), walk)
        if first is not walk:
            yield from difference(first, walk)
            yield ""
