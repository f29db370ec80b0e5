"""A user's file as text and tree, to locate errors by line and column."""

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from testbed.spec.files import Unreadable, read_text
from testbed.spec.nearest import nearest
from testbed.spec.problems import Loc, Misfit, Problem, SpecError
from testbed.spec.tree import WHOLE, Broken, Flaw, Node, compose

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Place:
    """The node that a path leads to, or the last one found on it."""

    loc: Loc
    key: Node | None
    value: Node
    reached: bool


@dataclass(frozen=True)
class Source:
    """A file as text and tree."""

    file: str
    text: str
    root: Node
    problems: tuple[Problem, ...] = ()
    """Non-fatal errors in the YAML syntax."""

    @property
    def data(self) -> object:
        """The document as mappings, lists, text and numbers."""
        return self.root.data

    def place(self, loc: Loc) -> Place:
        """The node at a path.

        A single item may replace a list of one item or a mapping with one key; a path into it leads to the item.
        """
        key, value = None, self.root
        for depth, step in enumerate(loc):
            if step not in value.children:
                bare = not isinstance(value.data, dict if isinstance(step, str) else list)
                return Place(loc[:depth] if bare else loc, key, value, reached=bare)
            key, value = value.keys.get(step), value.children[step]
        return Place(loc, key, value, reached=True)

    def problem(self, misfit: Misfit) -> Problem:
        """The misfit with line and column; at the nearest key above if its location is not in the file."""
        if misfit.problem:
            return misfit.problem
        place = self.place(misfit.loc)
        spot = place.key if place.key and (misfit.at_key or not place.reached) else place.value
        # Mark only the first character of a list or mapping, as it may have many lines.
        end = spot.start + 1 if isinstance(spot.data, list | dict) else spot.end
        problem = self._lines.problem(self.file, spot.start, end, misfit.message, place.loc)
        return replace(problem, found=spot.text, valid=misfit.valid, nearest=nearest(spot.text, misfit.valid))

    @cached_property
    def _lines(self) -> "_Lines":
        return _Lines(self.text)


class _Lines:
    """Line starts, counted as editors do; PyYAML treats more characters as line breaks."""

    def __init__(self, text: str) -> None:
        self.text = text
        breaks = list(_LINE_BREAK.finditer(text))
        self.starts = [0, *(match.end() for match in breaks)]
        self.ends = [*(match.start() for match in breaks), len(text)]

    def number(self, index: int) -> int:
        """The line of an index, counted from 0."""
        return bisect_right(self.starts, min(index, len(self.text))) - 1

    def problem(self, file: str, start: int, end: int, message: str, loc: Loc) -> Problem:
        line = self.number(start)
        excerpt = self.text[self.starts[line] : self.ends[line]]
        return Problem(
            file=file,
            line=line + 1,
            column=start - self.starts[line] + 1,
            message=message,
            where=dotted(loc),
            excerpt=excerpt,
            width=max(1, min(end, self.ends[line]) - start),
        )


def read_source(path: Path) -> Source:
    """The YAML document in a file. Raises SpecError if it cannot be read."""
    try:
        return parse(read_text(path), str(path))
    except Unreadable as error:
        raise SpecError((Problem(str(path), error.line, error.column, error.message),)) from None


def parse(text: str, file: str) -> Source:
    """The YAML document in a text. Raises SpecError if it cannot be read."""
    try:
        root, flaws = compose(text)
    except Broken as broken:
        raise SpecError(problems_of(text, file, broken.flaws)) from None
    return Source(file, text, root, problems_of(text, file, flaws))


def problems_of(text: str, file: str, flaws: tuple[Flaw, ...]) -> tuple[Problem, ...]:
    """Syntax errors with line and column."""
    lines = _Lines(text)
    return tuple(
        Problem(file, 0, 0, flaw.message)
        if flaw.start == WHOLE
        else lines.problem(file, flaw.start, flaw.end, _message(flaw, lines), flaw.loc)
        for flaw in flaws
    )


def _message(flaw: Flaw, lines: _Lines) -> str:
    return flaw.message if flaw.earlier is None else f"{flaw.message} {lines.number(flaw.earlier) + 1}"


def dotted(loc: Loc) -> str:
    """`nodes.node1.pods[0]`; keys with other characters are quoted."""
    steps = (
        f"[{step}]" if isinstance(step, int) else f".{step}" if re.fullmatch(r"[-\w]+", step) else f".'{step}'"
        for step in loc
    )
    return "".join(steps).removeprefix(".")
