"""Counted instructions as a table: a row a design, a column a metric."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from testbed.report import metrics, words
from testbed.report.run import Run
from testbed.report.statistics import Summary

COUNT, LEAST, DIFFERING = "_instructions", "_instructions_min", "_instructions_differing"
"""How names of metrics end: the count, the smallest one, and how many are larger than that."""


@dataclass(frozen=True)
class Row:
    """The counts of one design on one path, by metric."""

    cell: str
    """Of a sweep; empty without one."""
    design: str
    path: str
    source: str
    target: str
    instructions: dict[str, float]
    """The mean of both rounds."""
    minimum: dict[str, float]
    differing: dict[str, float]
    """How many counts exceed the minimum by more than 0.5 %, in percent."""
    rounds_differ: dict[str, float]
    """The larger round over the smaller one, minus 1, in percent."""


def rows(run: Run, summaries: Sequence[Summary]) -> tuple[Row, ...]:
    """The rows by path and cell, then designs, each in the order of the scenario."""
    found: dict[tuple[str, str, str], dict[str, Summary]] = {}
    for one in summaries:
        if metrics.known(one.metric).exact:
            found.setdefault((one.path, one.cell, one.design), {})[metrics.bare(one.metric)] = one
    return tuple(
        Row(cell, design, path.name, path.source, path.target, *_counts(found[path.name, cell, design]))
        for path in run.paths
        for cell in [cell.name for cell in run.cells] or [""]
        for design in run.design_names()
        if (path.name, cell, design) in found
    )


def _counts(found: dict[str, Summary]) -> tuple[dict[str, float], ...]:
    names = [name for name in sorted(found, key=metrics.order) if name.endswith(COUNT)]

    def companion(ending: str) -> dict[str, float]:
        others = {name: found.get(name.removesuffix(COUNT) + ending) for name in names}
        return {name: round(one.median, 2) for name, one in others.items() if one}

    apart = {name: round((found[name].ci_high / found[name].ci_low - 1) * 100, 3) for name in names}
    return {name: round(found[name].median, 1) for name in names}, companion(LEAST), companion(DIFFERING), apart


def tables(found: Sequence[Row]) -> Iterator[list[tuple[str, ...]]]:
    """A table for each path, as text; the first row has the headings."""
    for (path, source, target), some in groupby(found, key=lambda row: (row.path, row.source, row.target)):
        here = list(some)
        names = sorted({name for row in here for name in row.instructions}, key=metrics.order)
        table = [(f"{path}: {source} → {target}", *(metrics.title(name) for name in names))]
        for row in here:
            label = " ".join(filter(None, (row.design, row.cell)))
            table.append((label, *(_number(row.instructions.get(name)) for name in names)))
        yield table


def lines(found: Sequence[Row]) -> Iterator[str]:
    """The tables for a terminal."""
    for table in tables(found):
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            yield "  ".join([first.strip().ljust(widths[0]), *others])
        yield ""
    yield words.COUNTS


def _number(value: float | None) -> str:
    return words.NOTHING if value is None else f"{value:,.0f}"
