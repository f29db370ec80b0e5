"""Resuming a run: which trials are complete, which must be measured again, and whether its designs are still equal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from itertools import groupby
from pathlib import Path

from testbed.experiment.results import (
    HEADING,
    HISTOGRAMS,
    Results,
    Sample,
    histogram_line,
    read_results,
    replace_file,
    sample_line,
    unpack,
)
from testbed.spec.scenario import LIMITS


@dataclass(frozen=True)
class Measured:
    """Identifies a trial."""

    round: int
    cell: str
    design: str
    path: str
    probe: str
    repetition: int = 0
    """Number of the repetition for measurements of limits, else 0."""


def measured(sample: Sample) -> Measured:
    """The trial of a sample."""
    repetition = sample.position if sample.design == LIMITS else 0
    return Measured(sample.round, sample.cell, sample.design, sample.path, sample.probe, repetition)


def mend(folder: Path) -> Results:
    """Remove an incomplete last trial from a folder; return the rest.

    Histograms are written before a trial's samples, and samples row by row, so only the last trial can be incomplete.
    It is complete if it has all metrics that its probe gave in other trials, or an error.
    """
    results = read_results(folder)
    samples = list(results.samples)
    trials = [list(rows) for _, rows in groupby(samples, key=lambda s: (measured(s), s.started))]
    if trials and not _is_whole(trials[-1], trials[:-1]):
        samples = [sample for rows in trials[:-1] for sample in rows]
    known = {(s.round, s.cell, s.design, s.path, s.probe) for s in samples}
    histograms = [h for h in results.histograms if (h.round, h.cell, h.design, h.path, h.probe) in known]
    replace_file(folder / "samples.csv", HEADING + "".join(map(sample_line, samples)))
    unpack(folder)
    replace_file(folder / HISTOGRAMS, "".join(map(histogram_line, histograms)))
    return Results(folder, results.manifest, tuple(samples), tuple(histograms))


def changed_plans(folder: Path, plans: Mapping[str, str], samples: Iterable[Sample]) -> list[str]:
    """The differences between the plans of a run's designs and those that this version builds; empty if equal.

    `plans` are commands by design, as in the folder. Only designs that have samples count.
    """
    found = []
    for design in sorted({sample.design for sample in samples} & plans.keys()):
        file = folder / "plans" / f"{design}.txt"
        if not file.is_file():
            found.append(f"{design}: plans/{file.name} missing")
            continue
        then, now = file.read_text("utf-8"), plans[design]
        differing = [
            line
            for line in unified_diff(then.splitlines(), now.splitlines(), "then", "now", n=0, lineterm="")
            if not line.startswith(("---", "+++", "@@"))
        ]
        if differing:
            more = f" and {len(differing) - MOST_DIFFERING} more" if len(differing) > MOST_DIFFERING else ""
            found.append(f"{design}: {'; '.join(differing[:MOST_DIFFERING])}{more}")
    return found


MOST_DIFFERING = 4
"""The number of differing lines that are named for each design."""


def _is_whole(last: list[Sample], earlier: Iterable[list[Sample]]) -> bool:
    if any(sample.value is None for sample in last):
        return True
    metrics = {sample.metric for sample in last}
    similar = (rows for rows in earlier if (rows[0].probe, rows[0].cell) == (last[0].probe, last[0].cell))
    # p99.9 depends on the number of values.
    return all(
        metrics >= {s.metric for s in rows if s.value is not None and not s.metric.endswith("_p99.9")}
        for rows in similar
    )
