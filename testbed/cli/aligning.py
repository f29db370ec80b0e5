"""Tables that are printed in parts, such as those of `testbed get --watch`, with columns that stay where they are."""

import re
from itertools import pairwise

_GAP = 3
"""Spaces between columns."""
_HEAD = re.compile(r"\S+(?: \S+)*")


class Aligned:
    """Prints tables of the same columns one after the other: heads once, columns never narrower than before."""

    def __init__(self) -> None:
        self._widths: dict[tuple[str, ...], list[int]] = {}

    def text(self, tables: str, with_heads: bool = True) -> str:
        """Tables that are separated by empty lines; heads only of tables that are new, and with `with_heads`."""
        return "\n\n".join(filter(None, (self._table(table, with_heads) for table in tables.split("\n\n"))))

    def _table(self, table: str, with_heads: bool) -> str:
        first, *rest = table.splitlines()
        starts = [match.start() for match in _HEAD.finditer(first)]
        rows = [_cells(line, starts) for line in (first, *rest)]
        heads = tuple(rows[0])
        is_new = heads not in self._widths
        before = self._widths.get(heads, [0] * len(heads))
        widths = [max(width, *map(len, column)) for width, column in zip(before, zip(*rows, strict=True), strict=True)]
        self._widths[heads] = widths
        shown = rows if is_new and with_heads else rows[1:]
        return "\n".join(_line(row, widths) for row in shown)


def _cells(line: str, starts: list[int]) -> list[str]:
    return [line[start:end].rstrip() for start, end in pairwise([*starts, len(line) + 1])]


def _line(cells: list[str], widths: list[int]) -> str:
    return (" " * _GAP).join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
