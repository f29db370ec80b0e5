"""What is not to be had on a machine, as errors."""

from collections.abc import Sequence


class MachineLacks(Exception):
    """This machine has not what it takes; each line names what is missing and what brings it."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(["this cannot be done here:", *(f"  {line}" for line in lines)]))
        self.lines = tuple(lines)


class PluginNowhere(Exception):
    """A network's configuration names a CNI plugin that is not on this machine, and that no package brings."""
