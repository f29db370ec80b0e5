"""What a lab's container runtime can be told, and what comes of it; with little to load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from testbed.cni.calls import Call

Verb = Literal["add", "del", "check", "status", "gc"]
VERBS: tuple[Verb, ...] = ("add", "del", "check", "status", "gc")
UNPLUG_PATIENCE_S = 20.0
"""For all DELs of CNI plugins together when a lab is taken down; what is left then goes with the namespaces."""


@dataclass(frozen=True)
class Step:
    """What came of one command for one pod, or one node."""

    calls: tuple[Call, ...]
    error: str
    """Why it failed; empty if it did not."""
    changes: Mapping[str, tuple[str, ...]]
    """By place: what is gone (`- `) and what came (`+ `)."""

    def as_data(self) -> dict[str, Any]:
        """Ready for JSON."""
        calls = [call.as_data() for call in self.calls]
        return {"calls": calls, "error": self.error, "changes": {place: list(c) for place, c in self.changes.items()}}
