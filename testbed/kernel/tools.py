"""The system's programs that tell the kernel something, run in the calling thread's namespace."""

import subprocess
from collections.abc import Sequence

from testbed.kernel.programs import PROGRAMS

_PATIENCE_S = 30


class ToolFailed(OSError):
    """A program that was to tell the kernel something did not."""


def call(command: Sequence[str], said: str = "", patience_s: float = _PATIENCE_S) -> str:
    """What a program says that is told this. Raises ToolFailed."""
    done = ran(command, said, patience_s)
    if done.returncode:
        raise ToolFailed(f"{' '.join(command[:3])}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def ran(command: Sequence[str], said: str = "", patience_s: float = _PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """A program that has ended. Raises ToolFailed if it is missing."""
    try:
        return subprocess.run(command, input=said, capture_output=True, text=True, timeout=patience_s)
    except FileNotFoundError:
        name = command[0].removesuffix("-restore").removesuffix("-save")
        raise ToolFailed(f"the program {command[0]} is missing: {PROGRAMS[name].remedy}") from None
