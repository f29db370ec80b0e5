"""Run system tools in the calling thread's namespace."""

import subprocess
from collections.abc import Sequence

from testbed.kernel.programs import PROGRAMS

_PATIENCE_S = 30


class ToolFailed(OSError):
    """A tool is missing or failed."""


def call(command: Sequence[str], text: str = "", patience_s: float = _PATIENCE_S) -> str:
    """The output of a tool with this text as its input. Raises ToolFailed."""
    done = run(command, text, patience_s)
    if done.returncode:
        raise ToolFailed(f"{' '.join(command[:3])}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def run(command: Sequence[str], text: str = "", patience_s: float = _PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end. Raises ToolFailed if it is missing."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=patience_s)
    except FileNotFoundError:
        name = command[0].removesuffix("-restore").removesuffix("-save")
        raise ToolFailed(f"the program {command[0]} is missing: {PROGRAMS[name].remedy}") from None
