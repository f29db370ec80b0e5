"""Interface for reporting the progress of a run; the command line implements it."""

from typing import Protocol

from testbed.experiment.trial import Trial


class Watcher(Protocol):
    """Methods that are called at each step of a run, in this order."""

    def preparing(self, design: str) -> None:
        """A lab is about to be built and checked."""
        ...

    def prepared(self, design: str, ready: bool, news: str) -> None:
        """The lab was built and checked; `news` is the result, with a line for each failure."""
        ...

    def planned(self, trials: int, seconds: float) -> None:
        """The rounds have `trials` trials (0: unknown), which take about `seconds`."""
        ...

    def began(self, trial: Trial) -> None:
        """A trial is about to begin."""
        ...

    def ended(self, trial: Trial, news: str, seconds: float) -> None:
        """The trial ended; `news` is its first value or its error. `seconds` is its share of the planned time."""
        ...

    def trouble(self, reason: str, waiting: int) -> None:
        """Writing to disk failed; `waiting` bytes of samples are kept and will be written later."""
        ...
