"""Versions of the CNI specification."""

from collections.abc import Iterable

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""In order."""
WITHOUT = "0.1.0"
"""What a configuration means that names no version."""


def is_at_least(version: str, least: str) -> bool:
    """Of two supported versions, whether one is not the older."""
    return SUPPORTED.index(version) >= SUPPORTED.index(least)


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """The supported ones among them, each once."""
    wanted = set(versions)
    return tuple(version for version in reversed(SUPPORTED) if version in wanted)
