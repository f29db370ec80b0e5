"""Reading files of other tools: lenient YAML, with environment variables replaced as these tools do.

`${NAME}`, `${NAME:=default}`, `${NAME:-default}` and `${NAME:+other}` become the variable's value or the default,
before the text is read as YAML. A variable without either keeps its place in the YAML, where it means nothing.
Positions always refer to the text as the user wrote it.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.spec.files import Unreadable, read_text
from testbed.spec.problems import Problem, SpecError
from testbed.spec.source import Source, problems_of
from testbed.spec.tree import Broken, Flaw, Odd, compose

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::?(?P<way>[-=+?])(?P<default>[^{}]*))?\}")
_COMMENT = re.compile(r"(^|\s)#")
_ACTION = re.compile(r"\{\{|\{%")
_TEMPLATES = (".gotmpl", ".tmpl", ".j2")


@dataclass(frozen=True)
class Foreign:
    """A file of another tool, and what of its YAML is left out."""

    source: Source
    notes: tuple[Problem, ...]


def read_foreign(path: Path, environment: Mapping[str, str]) -> Foreign:
    """The YAML document in a file of another tool. Raises SpecError if it cannot be read."""
    try:
        return parse_foreign(read_text(path), str(path), environment)
    except Unreadable as error:
        raise SpecError((Problem(str(path), error.line, error.column, error.message),)) from None


def parse_foreign(text: str, file: str, environment: Mapping[str, str]) -> Foreign:
    """The YAML document in a text of another tool. Raises SpecError if it cannot be read."""
    if file.endswith(_TEMPLATES):
        raise SpecError(problems_of(text, file, (_template(text),)))
    filled = _Filled(text, environment)
    try:
        root, flaws = compose(filled.text, lenient=True, origin=filled.origin)
    except Broken as broken:
        raise SpecError(problems_of(text, file, (_template(text),) if _ACTION.search(text) else broken.flaws)) from None
    if any(text[max(flaw.start - 1, 0) : flaw.start + 1] == "{{" for flaw in flaws):
        raise SpecError(problems_of(text, file, (_template(text),)))
    return Foreign(Source(file, text, root), problems_of(text, file, (*filled.unset, *flaws)))


def plain(value: object) -> str:
    """A scalar as text; empty for nothing, and without variables that are not set."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value.text if isinstance(value, Odd) else str(value)
    return "" if value is None else _VARIABLE.sub("", text)


def _template(text: str) -> Flaw:
    action = _ACTION.search(text)
    start, end = action.span() if action else (0, 1)
    return Flaw(start, end, "the file is a template, not YAML; render it first and import the result")


class _Filled:
    """A text with its variables replaced, and the origin of each of its characters."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        parts: list[str] = []
        unset: list[Flaw] = []
        self._starts, self._origins = [0], [0]
        length = at = 0
        for match in _VARIABLE.finditer(text):
            value = _value(match, environment)
            parts += (text[at : match.start()], match[0] if value is None else value)
            length += match.start() - at
            self._mark(length, match.start())
            length += len(parts[-1])
            at = match.end()
            self._mark(length, at)
            if value is None and not _is_comment(text, match.start()):
                unset.append(Flaw(*match.span(), f"the variable {match['name']}, which is not set"))
        self.text = "".join((*parts, text[at:]))
        self.unset = tuple(unset)

    def _mark(self, start: int, origin: int) -> None:
        self._starts.append(start)
        self._origins.append(origin)

    def origin(self, index: int) -> int:
        """The index in the original text; a value's characters all have the index of its variable."""
        part = bisect_right(self._starts, index) - 1
        inside = part % 2 == 1
        return self._origins[part] + (0 if inside else index - self._starts[part])


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str | None:
    """The value of a variable; None if it is not set and has no default."""
    given, default = environment.get(match["name"]), match["default"] or ""
    if match["way"] == "+":
        return default if given else ""
    return given or (default if match["way"] in ("-", "=") else given)


def _is_comment(text: str, index: int) -> bool:
    return bool(_COMMENT.search(text[text.rfind("\n", 0, index) + 1 : index]))
