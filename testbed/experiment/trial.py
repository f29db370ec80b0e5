"""Trials: one probe on one path under one arm in one round. Trials run one after the other."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from testbed.experiment.doubts import NO_RAW, doubts
from testbed.experiment.results import Histogram, Sample, binned
from testbed.experiment.resume import Measured
from testbed.kernel.cpu import CpuTimes
from testbed.kernel.folders import SHARED
from testbed.lab.lab import Lab
from testbed.probes.placement import Placement
from testbed.probes.probe import Distribution, Ends, Measurement, Probe, ProbeError, StartsAhead, Value
from testbed.spec.scenario import LIMITS

_AROUND_S = 0.12
"""Time to start programs, parse their output and write results, in addition to measuring."""

LEAST_OWN = 0.05
"""Least part of the machine's CPU time that the lab's programs must take for it to count as the cost of a path."""

Witness = Callable[[], str]
"""Called after a probe: why its packets cannot have taken the design's path, or empty."""


@dataclass(frozen=True)
class Trial:
    """One run of a probe."""

    round: int
    position: int
    """In its block, counted from 1."""
    cell: str
    cell_number: int
    arm: str
    path: str
    source: str
    target: str
    probe_name: str
    probe: Probe
    placement: Placement

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.cell, self.arm, self.path, self.probe_name)))

    @property
    def seconds(self) -> float:
        """Approximate duration, without `lead`."""
        return self.probe.seconds - self.lead + _AROUND_S

    @property
    def lead(self) -> float:
        """Time that its program sleeps before it begins, at the same time as others of its block."""
        return self.probe.lead if isinstance(self.probe, StartsAhead) else 0

    @property
    def file_name(self) -> str:
        """Name of its raw output. Cells are numbered as in the manifest, because their names may contain any text."""
        cell = f"c{self.cell_number:03d}-" if self.cell else ""
        return f"{self.round:03d}-{cell}{self.arm}-{self.path}-{self.probe_name}-{self.position}"

    @property
    def measured(self) -> Measured:
        """Its identity, without the position: a block has one trial per arm. Limits are measured several times."""
        repetition = self.position if self.arm == LIMITS else 0
        return Measured(self.round, self.cell, self.arm, self.path, self.probe_name, repetition)


@dataclass(frozen=True)
class Outcome:
    """The results of a trial: samples (one with an error if there is no value) and histograms."""

    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...] = ()


@contextmanager
def ends_of(trial: Trial, lab: Lab) -> Iterator[Ends]:
    """The two ends of a trial in its lab, with a temporary folder; both are removed on exit."""
    with (
        tempfile.TemporaryDirectory(dir=SHARED) as scratch,
        Ends(lab, trial.source, trial.target, Path(scratch), trial.placement) as ends,
    ):
        yield ends


def carry_out(
    trial: Trial, ends: Ends, watch: Callable[[], Witness], keep: Callable[[str, bytes | Path], bool]
) -> Outcome:
    """Run a trial while no other one runs; `keep` saves each program's output under a name.

    Programs that were started ahead for other trials of the block are stopped. Starting a program during another trial
    would reduce that trial's throughput by 10% in its first second.
    """
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    measurement, error = None, ""
    try:
        witness = watch()
        measurement = trial.probe.measure(ends)
        error = witness()
    except ProbeError as reason:
        error = str(reason)
    except OSError as reason:  # Out of descriptors, processes or disk space: caused by the machine, not by the design.
        error = f"{trial.probe_name} could not be run: {reason.strerror or reason}"
    except Exception as reason:  # noqa: BLE001 - costs this sample, not those of other designs
        error = f"{trial.probe_name} failed: {type(reason).__name__}: {reason}"
    output: dict[str, bytes | Path] = {**ends.raw, **ends.files}
    kept = [keep(f"{trial.file_name}.{name}", content) for name, content in output.items()]
    spent = ends.ended - ends.began if ends.began and ends.ended else None
    stamp = _Stamp(trial, started, spent, () if all(kept) else (NO_RAW,))
    if measurement is None or error:
        return Outcome((stamp.sample("", "", None, error),))
    values = (*measurement.values, *_costs(measurement, spent))
    return Outcome(
        tuple(stamp.sample(item.metric, item.unit, item.value) for item in values),
        tuple(stamp.histogram(item) for item in measurement.distributions),
    )


def _costs(measurement: Measurement, spent: CpuTimes | None) -> Iterator[Value]:
    """CPU time of the whole machine, kernel and both ends, per Gbit or per request.

    None if the lab's programs took little of it: at 1 Mbit/s, or on a busy machine, that of other programs would count.
    """
    if spent is None or spent.programs < LEAST_OWN * spent.busy:
        return
    if measurement.carried_gbit:
        yield Value("cpu_per_gbit", "s/Gbit", spent.busy / measurement.carried_gbit)
    if measurement.requests:
        yield Value("cpu_per_request", "us", spent.busy / measurement.requests * 1e6)


@dataclass(frozen=True)
class _Stamp:
    """The common facts of all samples of a trial."""

    trial: Trial
    started: str
    spent: CpuTimes | None
    flags: tuple[str, ...]

    def sample(self, metric: str, unit: str, value: float | None, error: str = "") -> Sample:
        trial, spent = self.trial, self.spent
        known = spent is not None and spent.total > 0
        return Sample(
            *(trial.round, trial.position, trial.cell, trial.arm, trial.path, trial.probe_name, metric, unit, value),
            started=self.started,
            error=" ".join(error.split()),
            idle=round(spent.idle / spent.total, 4) if spent and known else None,
            steal=round(spent.steal / spent.total, 4) if spent and known else None,
            flags=" ".join((*(doubts(spent) if spent else ()), *self.flags)),
        )

    def histogram(self, item: Distribution) -> Histogram:
        trial = self.trial
        where = (trial.round, trial.cell, trial.arm, trial.path, trial.probe_name)
        return Histogram(*where, item.metric, item.unit, *binned(item.values))
