"""Whoever wants to know how a run is getting on: the experiment tells, the command line shows."""

from typing import Protocol

from testbed.experiment.trial import Trial


class Watcher(Protocol):
    """Told of each step of a run, in this order."""

    def preparing(self, design: str) -> None:
        """A lab is about to be built and checked."""
        ...

    def prepared(self, design: str, ready: bool, news: str) -> None:
        """It was; `news` says in a line what came of it."""
        ...

    def planned(self, trials: int, seconds: float) -> None:
        """The rounds have so many trials (0: nobody knows yet), in about so many seconds."""
        ...

    def began(self, trial: Trial) -> None:
        """A trial is about to begin."""
        ...

    def ended(self, trial: Trial, news: str, seconds: float) -> None:
        """It gave numbers, or none; `news` says which. `seconds` is its part of the time that was planned."""
        ...

    def trouble(self, reason: str, waiting: int) -> None:
        """Something could not be written to disk; so many bytes of samples wait for room."""
        ...
