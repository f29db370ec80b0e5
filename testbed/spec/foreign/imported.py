"""What comes of a file of another tool."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from testbed.spec.types import NAME_LENGTH

_WIDTH = 110


@dataclass(frozen=True)
class Imported:
    """A topology, as the data of its file, and what of the original is not in it."""

    topology: Mapping[str, Any]
    remarks: tuple[str, ...]
    """What was made of what, where that is not plain."""
    left_out: tuple[str, ...]
    """Each in a line."""

    def text(self, file: str) -> str:
        """The topology's file, which says where it comes from and what is missing."""
        head = ["yaml-language-server: $schema=../schemas/topology.json", f"Made by `testbed import {file}`."]
        head += self.remarks
        if self.left_out:
            head += ["Left out:", *(f"- {line}" for line in self.left_out)]
        body = yaml.dump(_plain(self.topology), sort_keys=False, default_flow_style=None, width=_WIDTH)
        return "".join(f"# {line}\n" for line in head) + body


def _plain(data: Any) -> Any:
    """Mappings and lists as YAML writes them."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def names_for(originals: Iterable[str]) -> dict[str, str]:
    """For each name one that nodes, switches and routers may have: lower-case letters, digits and dashes."""
    found: dict[str, str] = {}
    for original in originals:
        name = re.sub(r"[^a-z0-9]+", "-", original.lower()).strip("-")[:NAME_LENGTH].strip("-") or "x"
        number = 2
        while name in found.values():
            tail = f"-{number}"
            name, number = name.removesuffix(f"-{number - 1}")[: NAME_LENGTH - len(tail)] + tail, number + 1
        found[original] = name
    return found
