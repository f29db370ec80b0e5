"""Versions of the CNI specification."""

from collections.abc import Iterable

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Oldest first."""
WITHOUT = "0.1.0"
"""The version of a configuration that names none."""


def is_at_least(version: str, least: str) -> bool:
    """Whether a supported version is `least` or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(least)


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """The supported ones among the versions, each once, newest first."""
    wanted = set(versions)
    return tuple(version for version in reversed(SUPPORTED) if version in wanted)
