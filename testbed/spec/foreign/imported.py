"""Result of importing a file of another tool."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from testbed.spec.types import NAME_LENGTH

_WIDTH = 110


@dataclass(frozen=True)
class Imported:
    """A topology as the data of its file, with remarks and the parts that were left out."""

    topology: Mapping[str, Any]
    remarks: tuple[str, ...]
    """Conversions that are not obvious."""
    left_out: tuple[str, ...]
    """Parts of the original that are not in the topology, one line each."""

    def text(self, file: str) -> str:
        """The topology file, with its origin, remarks and left-out parts as comments."""
        head = ["yaml-language-server: $schema=../schemas/topology.json", f"Made by `testbed import {file}`."]
        head += self.remarks
        if self.left_out:
            head += ["Left out:", *(f"- {line}" for line in self.left_out)]
        body = yaml.dump(_plain(self.topology), sort_keys=False, default_flow_style=None, width=_WIDTH)
        return "".join(f"# {line}\n" for line in head) + body


def _plain(data: Any) -> Any:
    """The data as plain dicts and lists, for PyYAML."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def names_for(originals: Iterable[str]) -> dict[str, str]:
    """A valid, unique name of nodes, switches and routers for each original name."""
    found: dict[str, str] = {}
    for original in originals:
        name = re.sub(r"[^a-z0-9]+", "-", original.lower()).strip("-")[:NAME_LENGTH].strip("-") or "x"
        number = 2
        while name in found.values():
            tail = f"-{number}"
            name, number = name.removesuffix(f"-{number - 1}")[: NAME_LENGTH - len(tail)] + tail, number + 1
        found[original] = name
    return found
