"""A results folder: what a run writes while it measures, and how it is read again.

    NAME-TIME/
      manifest.json      scenario and topology as read, seed, machine, state
      samples.csv        one row a sample, appended as it is taken
      histograms.jsonl   one line a distribution: the values behind the percentiles, to three significant digits
      plans/DESIGN.txt   the commands that would build each design by hand
      raw/               each probe's own output, gzipped

Statistics, plots and reports are made from these files alone (`testbed.report`), so the folder is complete in itself
and may be moved to another machine.
"""

import csv
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

WARM_UP_ROUND = 0
"""The round that is recorded but never counted."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One number out of one round, or the reason why there is none. The columns of samples.csv."""

    round: int
    """Counts from 1; 0 is the warm-up."""
    position: int
    """When in its round the design's turn came, counted from 1."""
    design: str
    path: str
    probe: str
    metric: str
    """Such as `throughput`, `rtt_p50`."""
    unit: str
    value: float | None
    """None where the probe gave no number; `error` then says why."""
    started: str
    """UTC time at which the probe was started, ISO 8601."""
    error: str = ""


COLUMNS = tuple(field.name for field in fields(Sample))


@dataclass(frozen=True)
class Histogram:
    """How often each value came, to three significant digits; mergeable, unlike percentiles."""

    round: int
    design: str
    path: str
    probe: str
    metric: str
    unit: str
    values: Values
    """Ascending, each once."""
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def percentile(self, q: float) -> float:
        """The smallest value that at least q percent of all are not above."""
        # Less a hair: in binary, 99.9 percent of 10,000 may come out just above 9,990.
        rank = np.ceil(q / 100 * self.total - 1e-9)
        return float(self.values[np.searchsorted(np.cumsum(self.counts), max(rank, 1))])


def binned(values: Values) -> tuple[Values, npt.NDArray[np.int64]]:
    """Positive values rounded to three significant digits, each once and ascending, and how often each came."""
    magnitude = 10.0 ** (np.floor(np.log10(values)) - 2)
    # The second rounding takes off what binary floating point adds behind the third digit.
    rounded = np.round(np.round(values / magnitude) * magnitude, 9)
    distinct, counts = np.unique(rounded, return_counts=True)
    return distinct, counts.astype(np.int64)


def merged(histograms: Iterable[Histogram]) -> tuple[Values, npt.NDArray[np.int64]]:
    """All the histograms' values together, ascending, with their counts."""
    parts = list(histograms)
    values, where = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
    counts = np.bincount(where, weights=np.concatenate([part.counts for part in parts]))
    return values, counts.astype(np.int64)


class ResultsWriter:
    """Appends to a results folder; each row is on disk before the next sample is taken."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, which must not exist: a result on disk is never written over."""
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "raw").mkdir()
        (folder / "plans").mkdir()
        self._samples = (folder / "samples.csv").open("x", newline="")
        self._rows = csv.writer(self._samples, lineterminator="\n")
        self._histograms = (folder / "histograms.jsonl").open("x")
        self._rows.writerow(COLUMNS)
        _to_disk(self._samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._samples.close()
        self._histograms.close()

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replaces manifest.json as a whole, so that it is never half-written."""
        draft = self.folder / "manifest.json.new"
        with draft.open("w") as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")
            _to_disk(file)
        draft.replace(self.folder / "manifest.json")

    def append(self, samples: Iterable[Sample], histograms: Iterable[Histogram] = ()) -> None:
        for sample in samples:
            row = {column: getattr(sample, column) for column in COLUMNS}
            self._rows.writerow("" if cell is None else cell for cell in row.values())
        for histogram in histograms:
            line = {field.name: getattr(histogram, field.name) for field in fields(Histogram)}
            line |= {"values": histogram.values.tolist(), "counts": histogram.counts.tolist()}
            self._histograms.write(json.dumps(line) + "\n")
        _to_disk(self._histograms)
        _to_disk(self._samples)

    def write_plan(self, design: str, commands: str) -> None:
        """Keeps the commands that would build a design by hand."""
        (self.folder / "plans" / f"{design}.txt").write_text(commands)

    def write_raw(self, name: str, content: bytes) -> None:
        """Keeps a probe's own output as raw/NAME.gz."""
        # mtime 0: the same output gives the same file.
        (self.folder / "raw" / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=0))


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


class ResultsError(Exception):
    """A folder that is no results folder, or a damaged one."""


@dataclass(frozen=True)
class Results:
    """A results folder, read."""

    folder: Path
    manifest: dict[str, Any]
    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...]


def read_results(folder: Path) -> Results:
    """Reads a folder that a run wrote, finished or not.

    A last line cut short (the machine died while writing) is left out. Raises ResultsError where there is nothing to
    read.
    """
    for name in ("manifest.json", "samples.csv", "histograms.jsonl"):
        if not (folder / name).is_file():
            raise ResultsError(f"{folder} is no results folder: it has no {name}")
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        samples = tuple(_samples(folder / "samples.csv"))
        histograms = tuple(_histograms(folder / "histograms.jsonl"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{folder} cannot be read: {error}") from error
    return Results(folder, manifest, samples, histograms)


def _samples(file: Path) -> Iterator[Sample]:
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    for row in csv.DictReader(whole.splitlines()):
        yield Sample(
            round=int(row["round"]),
            position=int(row["position"]),
            design=row["design"],
            path=row["path"],
            probe=row["probe"],
            metric=row["metric"],
            unit=row["unit"],
            value=float(row["value"]) if row["value"] else None,
            started=row["started"],
            error=row["error"],
        )


def _histograms(file: Path) -> Iterator[Histogram]:
    text = file.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():
        entry = json.loads(line)
        entry["values"] = np.array(entry["values"], dtype=np.float64)
        entry["counts"] = np.array(entry["counts"], dtype=np.int64)
        yield Histogram(**entry)
