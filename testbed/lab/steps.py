"""Commands of a lab's container runtime and their results; imports little."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from testbed.cni.calls import Call

Verb = Literal["add", "del", "check", "status", "gc"]
VERBS: tuple[Verb, ...] = ("add", "del", "check", "status", "gc")
UNPLUG_PATIENCE_S = 4.0
"""For all DELs of CNI plugins together when a lab goes down; then the kernel removes the rest with the namespaces."""


@dataclass(frozen=True)
class Step:
    """The result of a command for a pod or node."""

    calls: tuple[Call, ...]
    error: str
    """The reason for a failure; empty if it succeeded."""
    changes: Mapping[str, tuple[str, ...]]
    """By place: removed (`- `) and added (`+ `) objects."""

    def as_data(self) -> dict[str, Any]:
        """The step as JSON data."""
        calls = [call.as_data() for call in self.calls]
        return {"calls": calls, "error": self.error, "changes": {place: list(c) for place, c in self.changes.items()}}
