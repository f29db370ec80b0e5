"""Errors in a user's file: location, value found, valid values, nearest match."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""Keys and indices from a document's root to a value."""


@dataclass(frozen=True)
class Misfit:
    """An error found by a model, located in the document but not yet in the file."""

    loc: Loc
    message: str
    valid: tuple[str, ...] = ()
    at_key: bool = False
    """The error is in the key, not in its value."""
    problem: "Problem | None" = None
    """The error in another file, where it is located already."""


@dataclass(frozen=True)
class Unfit(Misfit):
    """A reason why a design does not fit a topology; `loc` is in the topology."""

    in_design: Loc = ()
    """Location of the value at fault in the design's specification; empty if the design as a whole does not fit."""


class Invalid(Exception):
    """A check reads a value that is missing or invalid. That problem is reported elsewhere; the check ends."""


def each(*checks: Iterable[Misfit]) -> Iterator[Misfit]:
    """The misfits of all checks; a check ends at the first invalid value that it reads, and the next one begins."""
    for check in checks:
        with suppress(Invalid):
            yield from check


@dataclass(frozen=True)
class Problem:
    """An error with its location in the file. Line and column count from 1; line 0 is the file as a whole."""

    file: str
    line: int
    column: int
    message: str
    where: str = ""
    """The dotted path in the document, such as `nodes.node1.pods`."""
    found: str = ""
    """The key or scalar as the user wrote it."""
    valid: tuple[str, ...] = ()
    nearest: str = ""
    excerpt: str = ""
    """The line of the file."""
    width: int = 1
    """Number of characters to mark."""

    @property
    def place(self) -> str:
        """File, line and column; the file alone for one as a whole."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class SpecError(Exception):
    """A user's file cannot be used; `problems` has every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        """A line for each problem; `spec.render` shows more."""
        return "\n".join(": ".join(filter(None, (one.place, one.where, one.message))) for one in self.problems)


def item(path: tuple[str | int, ...], index: int, written: tuple[object, ...]) -> Loc:
    """Location of an item of a field that may be a list or a single item."""
    return (*path, index) if len(written) > 1 else path


def counted(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
