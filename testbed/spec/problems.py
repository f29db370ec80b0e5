"""Mistakes in what a user wrote: where they stand, what was found, what is valid, what was probably meant."""

from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""Keys and indices from a document's root to a value."""


@dataclass(frozen=True)
class Misfit:
    """A mistake found by a model, which knows the place in the document but not the line in the file."""

    loc: Loc
    message: str
    valid: tuple[str, ...] = ()
    at_key: bool = False
    """The mistake is the key itself, not its value."""


@dataclass(frozen=True)
class Problem:
    """A mistake with its place in the file. Line and column count from 1; line 0: the file as a whole."""

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
    """How many characters of the line are meant."""


class SpecError(Exception):
    """What the user wrote cannot be used; holds every problem that was found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(problem.message for problem in problems))
        self.problems = problems


def item(path: tuple[str | int, ...], index: int, written: tuple[object, ...]) -> Loc:
    """Where an item of a field stands that may be written as a list or as the bare item."""
    return (*path, index) if len(written) > 1 else path


def counted(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
