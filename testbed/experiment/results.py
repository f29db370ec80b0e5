"""A results folder: writing it during a run, and reading it.

    NAME-TIME/
      manifest.json      scenario and topology as read, seed, machine, state
      samples.csv        one row per sample, appended during the run
      histograms.jsonl   one line per distribution: the values of the percentiles, to three significant digits;
                         histograms.jsonl.gz once the run has ended; may be left out of a published folder
      plans/DESIGN.txt   the commands that build each design by hand
      raw/               output of each probe, gzipped

Statistics, plots and reports use only these files (`testbed.report`), so the folder is self-contained and can be moved
to another machine.
"""

import csv
import fcntl
import gzip
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

LAB = "lab"
"""The path, and the probe, of measurements of building a lab."""
LOOPBACK = "loopback"
"""The path of measurements of the probes' own limits."""
WARM_UP_ROUND = 0
"""The round that is recorded but not counted."""

HISTOGRAMS = "histograms.jsonl"
PACKED = f"{HISTOGRAMS}.gz"

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One value of one round, or the reason why there is none. The columns of samples.csv."""

    round: int
    """Counts from 1; 0 is the warm-up."""
    position: int
    """Position of the design in its block, counted from 1."""
    cell: str
    """Combination of a sweep's values, such as `mtu=1500 offload=on`; empty without a sweep."""
    design: str
    """The design; `aa` for the second measurement of the baseline; `limits` for a probe over loopback."""
    path: str
    """Of the scenario; `lab` for building the lab; `loopback` for a probe's own limits."""
    probe: str
    metric: str
    """Such as `throughput`, `rtt_p50`."""
    unit: str
    value: float | None
    """None if the probe gave no value; `error` then says why."""
    started: str
    """Start of the probe in UTC, ISO 8601."""
    error: str = ""
    idle: float | None = None
    """Fraction of all CPUs' time that was idle while the probe ran, 0 to 1."""
    steal: float | None = None
    """Fraction that the hypervisor gave to other virtual machines."""
    flags: str = ""
    """Reasons to doubt the value, words separated by spaces; see `testbed.experiment.doubts`."""


COLUMNS = tuple(field.name for field in fields(Sample))


@dataclass(frozen=True)
class Histogram:
    """Counts of values with three significant digits; mergeable, unlike percentiles."""

    round: int
    cell: str
    design: str
    path: str
    probe: str
    metric: str
    unit: str
    values: Values
    """Ascending, distinct."""
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def percentile(self, q: float) -> float:
        """The smallest value that at least q percent of all values do not exceed."""
        # Minus an epsilon: in floating point, 99.9 percent of 10,000 can be slightly above 9,990.
        rank = np.ceil(q / 100 * self.total - 1e-9)
        return float(self.values[np.searchsorted(np.cumsum(self.counts), max(rank, 1))])


def binned(values: Values) -> tuple[Values, npt.NDArray[np.int64]]:
    """Distinct positive values, ascending and rounded to three significant digits, and their counts."""
    magnitude = 10.0 ** (np.floor(np.log10(values)) - 2)
    # The second rounding removes floating-point errors after the third digit.
    rounded = np.round(np.round(values / magnitude) * magnitude, 9)
    distinct, counts = np.unique(rounded, return_counts=True)
    return distinct, counts.astype(np.int64)


def merged(histograms: Iterable[Histogram]) -> tuple[Values, npt.NDArray[np.int64]]:
    """The values of all histograms, distinct and ascending, with their counts."""
    parts = list(histograms)
    values, where = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
    counts = np.bincount(where, weights=np.concatenate([part.counts for part in parts]))
    return values, counts.astype(np.int64)


class ResultsWriter:
    """Appends to a results folder; each trial is on disk before the next one begins.

    Histograms are compressed when the writer closes, and decompressed when the next one opens.

    A write error, such as a full disk, does not end the run: pending data is written with the next trial, and `trouble`
    is the reason.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is from `new_folder` or an earlier run. Use `held` to lock it."""
        self.folder = folder
        self.trouble = ""
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        (folder / "plans").mkdir(exist_ok=True)
        unpack(folder)
        self._histograms = _Log(folder / HISTOGRAMS)
        self._samples = _Log(folder / "samples.csv")
        if self._samples.size == 0:
            self._samples.append(HEADING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tried(self._histograms.flush):
            self._tried(self._samples.flush)
        self._samples.close()
        self._histograms.close()
        if not self.waiting:
            self._tried(lambda: pack(self.folder))

    @property
    def waiting(self) -> int:
        """Number of pending bytes."""
        return len(self._samples.pending) + len(self._histograms.pending)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace manifest.json atomically."""
        text = json.dumps(manifest, indent=2) + "\n"
        self._tried(lambda: replace_file(self.folder / "manifest.json", text))

    def append(self, samples: Iterable[Sample], histograms: Iterable[Histogram] = ()) -> None:
        """Write a trial's rows; histograms first, so that a trial with samples is complete."""
        self._histograms.pending += "".join(map(histogram_line, histograms)).encode()
        self._samples.pending += "".join(map(sample_line, samples)).encode()
        if self._tried(self._histograms.flush):
            self._tried(self._samples.flush)

    def write_plan(self, name: str, commands: str) -> None:
        """Write the commands that build a design by hand."""
        self._tried(lambda: replace_file(self.folder / "plans" / f"{name}.txt", commands))

    def write_raw(self, name: str, content: bytes | Path) -> bool:
        """Save a probe's output, or a file that it wrote, as raw/NAME.gz; return whether it succeeded."""
        file = self.folder / "raw" / f"{name}.gz"

        def write() -> None:
            # mtime 0: the same output gives the same file.
            with (
                content.open("rb") if isinstance(content, Path) else BytesIO(content) as plain,
                file.open("wb") as out,
                gzip.GzipFile("", "wb", 1, out, mtime=0) as packed,
            ):
                shutil.copyfileobj(plain, packed)

        if self._tried(write):
            return True
        file.unlink(missing_ok=True)
        return False

    def _tried(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return False
        return True


def pack(folder: Path) -> None:
    """Compress the histograms, to about a fifth."""
    plain, packed = folder / HISTOGRAMS, folder / PACKED
    if plain.is_file():
        # mtime 0: the same values give the same file.
        replace_file(packed, gzip.compress(plain.read_bytes(), mtime=0))
        plain.unlink()


def unpack(folder: Path) -> None:
    """Decompress the histograms, to append to them. If both files exist, packing was cut short."""
    plain, packed = folder / HISTOGRAMS, folder / PACKED
    if packed.is_file():
        if not plain.is_file():
            replace_file(plain, gzip.decompress(packed.read_bytes()))
        packed.unlink()


class _Log:
    """A file for atomic appends: a partial write is undone, and the data stays pending."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.pending = b""

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def append(self, text: str) -> None:
        self.pending += text.encode()
        self.flush()

    def flush(self) -> None:
        """Write pending data. Raises OSError, with the file unchanged, if this fails."""
        size = self.size
        try:
            rest = memoryview(self.pending)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise
        self.pending = b""

    def close(self) -> None:
        os.close(self._fd)


def new_folder(results: Path, name: str) -> Path:
    """Create `RESULTS/NAME-TIME`, with a number appended if it exists; never overwrites a folder."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        folder = results / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there is always a next number")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock the folder. Raises ResultsError if another run has locked it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ResultsError(f"{folder} is in use by another run") from None
    finally:
        os.close(fd)


def replace_file(path: Path, content: str | bytes) -> None:
    """Replace a file atomically; the new content is on disk before."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def sample_line(sample: Sample) -> str:
    """A sample as a line of samples.csv."""
    return _csv_line("" if cell is None else cell for cell in astuple(sample))


def histogram_line(histogram: Histogram) -> str:
    """A histogram as a line of histograms.jsonl."""
    line = {field.name: getattr(histogram, field.name) for field in fields(Histogram)}
    return json.dumps(line | {"values": histogram.values.tolist(), "counts": histogram.counts.tolist()}) + "\n"


HEADING = ",".join(COLUMNS) + "\n"
"""The first line of samples.csv."""


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


class ResultsError(Exception):
    """A folder is not a results folder, or is damaged."""


@dataclass(frozen=True)
class Results:
    """The contents of a results folder."""

    folder: Path
    manifest: dict[str, Any]
    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...]


def read_results(folder: Path) -> Results:
    """Read the folder of a run, finished or not.

    An incomplete last line (after a crash) is ignored. Histograms may be compressed or missing, to publish a smaller
    folder. Raises ResultsError if another file is missing, or one is damaged.
    """
    for name in ("manifest.json", "samples.csv"):
        if not (folder / name).is_file():
            raise ResultsError(f"{folder} is not a results folder: {name} missing")
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        samples = tuple(_samples(folder / "samples.csv"))
        histograms = tuple(_histograms(folder))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{folder} cannot be read: {error}") from error
    return Results(folder, manifest, samples, histograms)


def _samples(file: Path) -> Iterator[Sample]:
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    for row in csv.DictReader(whole.splitlines()):
        yield Sample(
            round=int(row["round"]),
            position=int(row["position"]),
            cell=row.get("cell", ""),
            design=row["design"],
            path=row["path"],
            probe=row["probe"],
            metric=row["metric"],
            unit=row["unit"],
            value=float(row["value"]) if row["value"] else None,
            started=row["started"],
            error=row["error"],
            idle=float(row["idle"]) if row.get("idle") else None,
            steal=float(row["steal"]) if row.get("steal") else None,
            flags=row.get("flags", ""),
        )


def _histograms(folder: Path) -> Iterator[Histogram]:
    """The histograms, compressed or not; none if they were left out to save space."""
    plain, packed = folder / HISTOGRAMS, folder / PACKED
    if not plain.is_file() and not packed.is_file():
        return
    text = plain.read_text() if plain.is_file() else gzip.decompress(packed.read_bytes()).decode()
    for line in text[: text.rfind("\n") + 1].splitlines():
        entry = {"cell": ""} | json.loads(line)
        entry["values"] = np.array(entry["values"], dtype=np.float64)
        entry["counts"] = np.array(entry["counts"], dtype=np.int64)
        yield Histogram(**entry)
