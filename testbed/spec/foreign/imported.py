"""Result of importing a file of another tool."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed.spec.problems import Loc, Misfit, Problem
from testbed.spec.source import Source
from testbed.spec.types import NAME_LENGTH

_WIDTH = 110
_LONGEST = NAME_LENGTH - len("-pod-9")
"""Characters of a name: the names of a node's pods start with it."""

Origin = tuple[Source, Loc]
"""A location in a file of another tool."""


@dataclass(frozen=True)
class Imported:
    """A topology as the data of its file, with remarks and the parts that were left out."""

    topology: Mapping[str, Any]
    remarks: tuple[str, ...]
    """Conversions that are not obvious."""
    left_out: tuple[Problem, ...]
    """Parts of the original that are not in the topology, each with its location."""
    added: tuple[Problem, ...]
    """Parts of the topology that the original does not have, each with the location that they were added at."""
    origins: Mapping[Loc, Origin]
    """Where parts of the topology come from; the origin of the rest is that of `()`."""

    def text(self, file: str, schema: str | None = None) -> str:
        """The topology file, with its origin, remarks and left-out parts as comments.

        `schema` is the path of the JSON Schema for editors, relative to the topology file.
        """
        head = [f"yaml-language-server: $schema={schema}"] if schema else []
        head += [f"Made by `testbed import {file}`.", *self.remarks, *(part.message for part in self.added)]
        if self.left_out:
            head += ["Left out:", *(f"- {self._line(part)}{part.message}" for part in self.left_out)]
        body = yaml.dump(_plain(self.topology), sort_keys=False, default_flow_style=None, width=_WIDTH)
        return "".join(f"# {line}\n" for line in head) + body

    def _line(self, part: Problem) -> str:
        own = self.origins[()][0].file == part.file
        place = (() if own else (Path(part.file).name,)) + ((f"line {part.line}",) if part.line else ())
        return f"{' '.join(place)}: " if place else ""

    def origin(self, loc: Loc, message: str) -> Problem:
        """A problem of the topology at a location, as a problem of the file that it comes from."""
        length = next(length for length in range(len(loc), -1, -1) if loc[:length] in self.origins)
        source, at = self.origins[loc[:length]]
        return source.problem(Misfit(at, f"imported as {'.'.join(map(str, loc))}: {message}", at_key=True))


def _plain(data: Any) -> Any:
    """The data as plain dicts and lists, for PyYAML."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def in_order(problems: Iterable[Problem], source: Source) -> list[Problem]:
    """The problems by line, each once; those of other files than `source` last."""
    return sorted(dict.fromkeys(problems), key=lambda part: (part.file != source.file, part.line, part.column))


def name_for(original: str, instead: str) -> str:
    """A valid name for a topology; `instead` without an original name."""
    return names_for([original or instead]).popitem()[1]


def names_for(originals: Iterable[str]) -> dict[str, str]:
    """A valid, unique name of nodes, switches and routers for each original name."""
    found: dict[str, str] = {}
    for original in originals:
        name = re.sub(r"[^a-z0-9]+", "-", original.lower()).strip("-")[:_LONGEST].strip("-") or "x"
        number = 2
        while name in found.values():
            tail = f"-{number}"
            name, number = name.removesuffix(f"-{number - 1}")[: _LONGEST - len(tail)] + tail, number + 1
        found[original] = name
    return found
