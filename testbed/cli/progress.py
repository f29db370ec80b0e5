"""Progress of a run, on standard error: a bar on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from testbed.experiment.results import WARM_UP_ROUND
from testbed.experiment.trial import Trial
from testbed.spec.scenario import LIMITS
from testbed.spec.types import minutes


@dataclass
class _Plan:
    """The time that the measurements take. Times are in seconds, `began` by the monotonic clock."""

    seconds: float
    """As estimated."""
    is_limit: bool
    """Whether `seconds` is a limit, not an estimate."""
    began: float
    done: float = 0
    """The part of the estimate whose measurements have ended."""

    def left(self, now: float) -> float:
        """The time that is left, if the rest exceeds its estimate by as much as the part that is done.

        The estimate counts as much as TRUST_S seconds of measurements, so that the first ones change little.
        """
        spent = now - self.began
        if self.is_limit:
            return max(self.seconds - spent, 0)
        return max(self.seconds - self.done, 0) * (spent + TRUST_S) / (self.done + TRUST_S)


TRUST_S = 5.0


def _bar(console: Console) -> Bar:
    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[left]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        refresh_per_second=1,  # Drawing takes CPU time from measurements.
    )


class Progress:
    """A `testbed.experiment.watcher.Watcher` that prints."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = _bar(self._console)
        self._task: TaskID | None = None
        self._trials = 0
        self._done = 0
        self._plan: _Plan | None = None
        """None before the measurements are planned: limits are measured first."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def preparing(self, design: str) -> None:
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("", total=None, count="", left="")
            self._bar.update(self._task, description=f"building and checking {design}")

    def prepared(self, design: str, ready: bool, news: str) -> None:
        self._say(f"{'ready ' if ready else 'FAILED'}  {design}: {news}")

    def planned(self, trials: int, seconds: float) -> None:
        self._trials, self._done = trials, 0
        self._plan = _Plan(seconds, is_limit=not trials, began=time.monotonic())
        if trials:
            self._say(f"{trials} measurements, about {minutes(seconds)}")
        else:
            self._say(f"rounds until all verdicts are settled, at most {minutes(seconds)}")
        if self._task is not None:
            self._bar.reset(self._task, total=seconds)

    def began(self, trial: Trial) -> None:
        if self._task is not None:
            self._bar.update(
                self._task,
                description=f"{_round(trial)}: {trial.label}",
                count=self._counted(self._done + 1),
                left=self._left(),
            )

    def ended(self, trial: Trial, news: str, seconds: float) -> None:
        self._done += 1
        if self._plan is not None:
            self._plan.done += seconds
        if self._task is not None:
            self._bar.advance(self._task, seconds)
        else:
            told = "; ".join(filter(None, (news, self._left())))
            self._say(f"[{self._counted(self._done)}] {_round(trial)}: {trial.label}: {told}")

    def trouble(self, reason: str, waiting: int) -> None:
        kept = f"; {waiting} bytes of samples wait to be written" if waiting else ""
        self._say(f"NOT WRITTEN  {reason}{kept}")

    def _left(self) -> str:
        return f"{minutes(self._plan.left(time.monotonic()))} left" if self._plan else ""

    def _counted(self, number: int) -> str:
        return f"{number}/{self._trials}" if self._trials else str(number)


class CountProgress:
    """A `testbed.counting.count.Watcher` that prints."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = _bar(self._console)
        self._task = self._bar.add_task("", total=None, count="", left="")
        self._designs = self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def booting(self, kernel: str) -> None:
        self._say(f"Linux {kernel} boots under QEMU, about a minute")
        self._bar.update(self._task, description="booting")

    def planned(self, designs: int) -> None:
        self._designs, self._began = designs, time.monotonic()
        self._bar.reset(self._task, total=designs, description="counting over loopback", count=f"0/{designs}")

    def prepared(self, design: str, ready: bool, news: str) -> None:
        self._say(f"{'ready ' if ready else 'FAILED'}  {design}: {news}")
        self._bar.update(self._task, description=design)

    def ended(self, design: str, news: str) -> None:
        self._done += 1
        done = f"{self._done}/{self._designs}"
        left = (time.monotonic() - self._began) / self._done * (self._designs - self._done)
        self._bar.update(self._task, advance=1, count=done, left=f"{minutes(left)} left")
        self._say(f"[{done}] {design}: {news}; {minutes(left)} left")


def _round(trial: Trial) -> str:
    if trial.arm == LIMITS:
        return "limits"
    return "warm-up" if trial.round == WARM_UP_ROUND else f"round {trial.round}"
