"""Trials: one probe on one path under one design in one round, carried out one after the other."""

import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from testbed.experiment.results import Histogram, Sample, binned
from testbed.lab.capsule import SCRATCH
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, Probe, ProbeError
from testbed.spec.scenario import Path as ScenarioPath

_MARGIN_S = 0.15
"""Between the end of one trial and the first packet of the next one, where that was started ahead."""


@dataclass(frozen=True)
class Trial:
    """One probe to be run once."""

    round: int
    position: int
    design: str
    path: str
    ends: ScenarioPath
    probe_name: str
    probe: Probe

    @property
    def label(self) -> str:
        return f"{self.design} {self.path} {self.probe_name}"

    def seconds(self, before: "Trial | None") -> float:
        """About how long it takes behind another one."""
        slept = before.probe.measures_s if before and not before.probe.together else 0.0
        return max(self.probe.sleeps_s - slept, 0.0) + self.probe.measures_s + _MARGIN_S

    @property
    def file_name(self) -> str:
        return f"{self.round:03d}-{self.position}-{self.design}-{self.path}-{self.probe_name}"


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: samples (one with an error if it gave no number), distributions, the programs' own output."""

    trial: Trial
    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...]
    raw: dict[str, bytes]


class _Started:
    """A trial whose programs have been started; `outcome` waits for them, `close` ends them."""

    def __init__(self, trial: Trial, lab: Lab) -> None:
        self.trial = trial
        self.began = time.monotonic()
        self._started = datetime.now(UTC)
        self._stack = ExitStack()
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=SCRATCH)))
        cpus = placement(trial.probe.together)
        self._ends = self._stack.enter_context(Ends(lab, trial.ends.source, trial.ends.target, scratch, cpus))
        self._error = ""
        self._finish: Callable[[], Measurement] | None = None
        try:
            self._finish = trial.probe.start(self._ends)
        except ProbeError as error:
            self._error = str(error)
        except BaseException:
            self.close()
            raise

    @property
    def busy_from(self) -> float:
        return self.began + self.trial.probe.sleeps_s

    @property
    def busy_until(self) -> float:
        return self.busy_from + self.trial.probe.measures_s

    def outcome(self) -> Outcome:
        try:
            measurement = self._finish() if self._finish else None
        except ProbeError as error:
            measurement, self._error = None, str(error)
        finally:
            self.close()
        return Outcome(
            self.trial,
            tuple(self._samples(measurement)),
            tuple(self._histograms(measurement)),
            self._ends.raw,
        )

    def close(self) -> None:
        self._stack.close()

    def _samples(self, measurement: Measurement | None) -> Iterator[Sample]:
        trial, started = self.trial, self._started.isoformat(timespec="milliseconds")
        common = (trial.round, trial.position, trial.design, trial.path, trial.probe_name)
        if measurement is None:
            yield Sample(*common, metric="", unit="", value=None, started=started, error=self._error)
            return
        for item in measurement.values:
            yield Sample(*common, metric=item.metric, unit=item.unit, value=item.value, started=started)

    def _histograms(self, measurement: Measurement | None) -> Iterator[Histogram]:
        trial = self.trial
        for item in measurement.distributions if measurement else ():
            values, counts = binned(item.values)
            yield Histogram(
                trial.round,
                trial.design,
                trial.path,
                trial.probe_name,
                item.metric,
                item.unit,
                values,
                counts,
            )


def carry_out(trials: Sequence[Trial], labs: Mapping[str, Lab]) -> Generator[Outcome]:
    """Runs the trials in order, each alone on the machine.

    Some programs only sleep at first (sockperf for two seconds). Such a one is started while its predecessor is still
    measuring, early enough to have slept when that ends; a predecessor that takes longer than it should has the next
    trial started anew behind it. Latency is never disturbed so: the start of a program would show in its tail.
    """
    current: _Started | None = None
    ahead: _Started | None = None
    try:
        for trial, following in zip_longest(trials, trials[1:]):
            current = ahead or _Started(trial, labs[trial.design])
            ahead = _started_ahead(current, following, labs) if following else None
            yield current.outcome()
            if ahead and time.monotonic() > ahead.busy_from:
                ahead.close()
                ahead = None
    finally:
        for started in (current, ahead):
            if started:
                started.close()


def _started_ahead(current: _Started, following: Trial, labs: Mapping[str, Lab]) -> _Started | None:
    if following.probe.sleeps_s == 0 or current.trial.probe.together:
        return None
    start_at = current.busy_until + _MARGIN_S - following.probe.sleeps_s
    time.sleep(max(start_at - time.monotonic(), 0))
    return _Started(following, labs[following.design])
