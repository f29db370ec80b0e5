"""Run the commands that fix the differences of a lab from its plan, in their order."""

import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from testbed.lab.living import ChangeFailed, LivingLab

PATIENCE_S = 90.0
"""For one command; some wait for the routes of a daemon."""


class Fixable(Protocol):
    """A difference, such as `testbed.observe.inspect.Difference`."""

    @property
    def place(self) -> str: ...
    @property
    def mend(self) -> tuple[str, ...]: ...
    @property
    def again(self) -> str: ...


D = TypeVar("D", bound=Fixable)


@dataclass(frozen=True)
class Refused:
    """A command that failed; the place and the last line of its output."""

    place: str
    command: str
    message: str


@dataclass(frozen=True)
class Mended(Generic[D]):
    """The outcome of fixing a lab."""

    found: Sequence[D]
    """The differences before."""
    refused: tuple[Refused, ...]
    left: Sequence[D]
    """Those after."""


def mended(lab: LivingLab, found: Sequence[D], look: Callable[[], Sequence[D]]) -> Mended[D]:
    """Fix the differences that were found, and compare again by `look`."""
    if not found:
        return Mended(found, (), ())
    refused = mend(lab, found)
    left = look()
    if left and (refused or any(item.again for item in found)):
        # A restarted process may have brought back what depends on it, or need it again.
        refused = mend(lab, left)
        left = look()
    return Mended(found, refused, left)


def mend(lab: LivingLab, differences: Sequence[Fixable]) -> tuple[Refused, ...]:
    """Fix the differences: run the commands, and let the lab make again what they cannot. Returns what failed."""
    refused = [*_run(lab, ((item.place, command) for item in differences for command in item.mend))]
    wanted = [(item.place, item.again) for item in differences if item.again]
    if wanted:
        try:
            lab.again(dict.fromkeys(wanted))
        except ChangeFailed as error:
            refused.append(Refused(wanted[0][0], wanted[0][1], str(error)))
    return tuple(refused)


def _run(lab: LivingLab, commands: Iterable[tuple[str, str]]) -> Iterable[Refused]:
    for place, command in commands:
        with lab.start(
            place, ["sh", "-ec", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                _, said = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
        if process.returncode:
            lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            yield Refused(place, command, lines[-1])
