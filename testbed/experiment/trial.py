"""Trials: one probe on one path under one design in one round, carried out one after the other."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from testbed.experiment.results import Histogram, Sample, binned
from testbed.lab.capsule import SCRATCH
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, Probe, ProbeError
from testbed.spec.scenario import Path as ScenarioPath

_AROUND_S = 0.3
"""What starting programs, reading their output and writing it down takes beside measuring."""


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

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return self.probe.seconds + _AROUND_S

    @property
    def file_name(self) -> str:
        return f"{self.round:03d}-{self.position}-{self.design}-{self.path}-{self.probe_name}"


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: samples (one with an error if it gave no number), distributions, the programs' own output."""

    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...]
    raw: dict[str, bytes]


def carry_out(trial: Trial, lab: Lab) -> Outcome:
    """Runs a trial, alone on the machine.

    sockperf only sleeps for its first two seconds; to start it while the trial before is still measuring would save
    those, and was tried. It cost that trial's first second a tenth of its throughput.
    """
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    measurement, error = None, ""
    with (
        tempfile.TemporaryDirectory(dir=SCRATCH) as scratch,
        Ends(lab, trial.ends.source, trial.ends.target, Path(scratch), placement(trial.probe.together)) as ends,
    ):
        try:
            measurement = trial.probe.measure(ends)
        except ProbeError as reason:
            error = str(reason)
    return Outcome(
        tuple(_samples(trial, started, measurement, error)), tuple(_histograms(trial, measurement)), ends.raw
    )


def _samples(trial: Trial, started: str, measurement: Measurement | None, error: str) -> Iterator[Sample]:
    common = (trial.round, trial.position, trial.design, trial.path, trial.probe_name)
    if measurement is None:
        yield Sample(*common, metric="", unit="", value=None, started=started, error=error)
        return
    for item in measurement.values:
        yield Sample(*common, metric=item.metric, unit=item.unit, value=item.value, started=started)


def _histograms(trial: Trial, measurement: Measurement | None) -> Iterator[Histogram]:
    for item in measurement.distributions if measurement else ():
        values, counts = binned(item.values)
        yield Histogram(trial.round, trial.design, trial.path, trial.probe_name, item.metric, item.unit, values, counts)
