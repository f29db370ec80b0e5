"""Times as the API writes them, and conditions, which carry them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Condition = Mapping[str, Any]


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as the API writes them, such as `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Seconds since 1970 of a timestamp."""
    return datetime.fromisoformat(text).timestamp()


def condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type; None if there is none."""
    return next((one for one in conditions if one["type"] == kind), None)


def with_times(old: Sequence[Condition], new: Iterable[Condition], now: float) -> list[Condition]:
    """New conditions with the time of their last transition: a condition whose status did not change keeps it."""
    return [{**one, "lastTransitionTime": _transition(condition(old, one["type"]), one, now)} for one in new]


def _transition(old: Condition | None, new: Condition, now: float) -> str:
    is_same = old is not None and old["status"] == new["status"]
    return str(old["lastTransitionTime"]) if old is not None and is_same else timestamp(now)
