"""Errors about what a machine lacks."""

from collections.abc import Sequence


class MachineLacks(Exception):
    """The machine lacks something; each line names what is missing and how to get it."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(["this cannot be done here:", *(f"  {line}" for line in lines)]))
        self.lines = tuple(lines)


class PluginNowhere(Exception):
    """A network's configuration names a CNI plugin that is not installed and in no known package."""
