"""Counted instructions for the reports of a run: counts.csv in its folder, taken from a folder of `testbed count`."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.experiment.results import LAB, LOOPBACK, WARM_UP_ROUND, Results, ResultsError, read_results, replace_file
from testbed.report import metrics
from testbed.spec.scenario import AA

if TYPE_CHECKING:
    from testbed.report.statistics import Summary

FILE = "counts.csv"
METRIC = "tcp_64_instructions"
"""What is shown: a TCP round trip of 64 bytes."""
TITLE = "Instructions"
TIMES = ("rtt_p50", "icmp_rtt_p50", "open_rtt_p50")
"""The measured times to which counts are compared: the first one that a run has."""
FEWEST = 4
"""Designs for a rank correlation."""

Counts = Mapping[tuple[str, str, str], float]
"""By cell, design and path."""


def take(folder: Path, counts: Results) -> None:
    """Write the counts of another results folder into that of a run.

    Raises ResultsError if there are none, or none of a path of the run.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for s in counts.samples:
        if s.metric == METRIC and s.round != WARM_UP_ROUND and s.value is not None:
            found.setdefault((s.cell, s.design, s.path), []).append(s.value)
    if not found:
        raise ResultsError(f"{counts.folder} has no counts of instructions: expected a folder of `testbed count`")
    paths = {s.path for s in read_results(folder).samples}
    if not paths & {path for _, _, path in found}:
        counted, run = (", ".join(sorted(names)) for names in ({path for _, _, path in found}, paths - {LAB, LOOPBACK}))
        raise ResultsError(f"{counts.folder} has counts of other paths ({counted}) than {folder} ({run})")
    lines = [("cell", "design", "path", "instructions")]
    lines += [(*where, f"{sum(values) / len(values):.0f}") for where, values in found.items()]
    replace_file(folder / FILE, "".join(f"{','.join(map(_quoted, line))}\n" for line in lines))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"') else text


def read(folder: Path) -> Counts:
    """The counts in the folder of a run; empty without any."""
    file = folder / FILE
    if not file.is_file():
        return {}
    rows = csv.DictReader(file.read_text().splitlines())
    return {(row["cell"], row["design"], row["path"]): float(row["instructions"]) for row in rows}


def count_of(counts: Counts, cell: str, design: str, path: str) -> float | None:
    """The count of a design; where a run has a sweep and its counts have none, that without a cell."""
    return counts.get((cell, design, path), counts.get(("", design, path)))


def correlations(counts: Counts, summaries: "Sequence[Summary]") -> Iterator[str]:
    """How far the order of designs by instructions is that by measured time: a line for each path and cell."""
    here = {metrics.bare(s.metric) for s in summaries}
    time = next((name for name in TIMES if name in here), None)
    groups: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for s in summaries:
        count = count_of(counts, s.cell, s.design, s.path)
        if metrics.bare(s.metric) == time and count is not None and s.design != AA:
            instructions, times = groups.setdefault((s.path, s.cell), ([], []))
            instructions.append(count)
            times.append(s.median)
    for (path, cell), (instructions, times) in groups.items():
        if len(times) >= FEWEST:
            from scipy.stats import spearmanr  # here, as scipy takes a second to import

            rank = float(spearmanr(instructions, times).statistic)
            where = " ".join(filter(None, (path, cell)))
            yield (
                f"{where}: instructions of a TCP round trip of 64 B and {metrics.title(str(time))} order {len(times)} "
                f"designs with a rank correlation of {rank:.2f} (Spearman)."
            )
