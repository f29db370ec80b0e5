"""From samples to summaries: medians over rounds, ratios to the same round's baseline, intervals, verdicts.

Every round measures every design once, so a round is a block: what disturbed the machine in it disturbed all
designs. Therefore designs are compared inside a round (`ratio`), and rounds are what is counted (`n`).

All functions are pure. Round 0 is the warm-up and never counts.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import comb
from statistics import median
from typing import Literal

from testbed.experiment.results import WARM_UP_ROUND, Histogram, Sample, merged
from testbed.report import metrics

Verdict = Literal["faster", "slower", "not resolved", "baseline", ""]

COLUMNS = (
    *("design", "path", "metric", "unit", "rounds", "median", "ci_low", "ci_high"),
    *("ratio", "ratio_low", "ratio_high", "verdict"),
)
"""The columns of summary.csv."""

CONFIDENCE = Fraction(95, 100)
"""The coverage that an interval is to reach where the number of rounds allows it."""

MIN_ROUNDS_FOR_VERDICT = 5

ALL_ROUNDS = -1
"""The round of a histogram that holds those of all counted rounds."""


@dataclass(frozen=True)
class Interval:
    """What the rounds say of the true median, in the unit of the values."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """The counted rounds of one design, path and metric."""

    design: str
    path: str
    probe: str
    metric: str
    """As in samples.csv; `PROBE/METRIC` where several probes measure the same metric."""
    unit: str
    values: Mapping[int, float]
    """By round; a round in which the probe gave no number is absent."""


@dataclass(frozen=True)
class Summary:
    """A row of summary.csv. Values are in `unit`; a ratio is this design's value over the baseline's."""

    design: str
    path: str
    metric: str
    """`PROBE/METRIC` where several probes measure the same metric."""
    unit: str
    rounds: int
    """How many counted rounds gave a value."""
    median: float
    ci_low: float
    ci_high: float
    """The interval holds the true median with probability `coverage(rounds)`."""
    ratio: float | None
    """The median over rounds of this design's value over the same round's baseline value."""
    ratio_low: float | None
    ratio_high: float | None
    verdict: Verdict
    pairs: int = 0
    """How many rounds the ratio rests on: those in which the baseline gave a value too. No column."""


def _rank(n: int) -> int:
    """The largest r for which r-th smallest to r-th largest of n values reaches CONFIDENCE; at least 1."""
    allowed = (1 - CONFIDENCE) / 2 * 2**n
    below, rank = 0, 0
    while (below := below + comb(n, rank)) <= allowed:
        rank += 1
    return max(rank, 1)


def coverage(n: int) -> float:
    """How surely `interval` of n values holds the true median, 0 to 1: at least 0.95 from 6 values on.

    With fewer it is the smallest to the largest value, and 1 - 2^(1-n): 0.9375 for 5.
    """
    return 1 - 2 * sum(comb(n, i) for i in range(_rank(n))) / 2**n if n else 0.0


def interval(values: Iterable[float]) -> Interval:
    """The median and its order-statistic interval, from the r-th smallest to the r-th largest value.

    Each value lies below the true median with probability 1/2, whatever the distribution, so how many do is
    binomial; only independence of the rounds is assumed. W. J. Conover, Practical Nonparametric Statistics,
    3rd ed. 1999, section 3.2; scipy.stats.quantile_test(values, p=0.5) gives the same.
    """
    ascending = sorted(values)
    rank = _rank(len(ascending))
    return Interval(median(ascending), ascending[rank - 1], ascending[-rank])


def series(samples: Iterable[Sample]) -> tuple[Series, ...]:
    """The samples that count, gathered; by path and metric. What gave no value in any round is absent."""
    counted = [s for s in samples if s.round != WARM_UP_ROUND and s.value is not None]
    probes: dict[str, set[str]] = {}
    for sample in counted:
        probes.setdefault(sample.metric, set()).add(sample.probe)

    def key(s: Sample) -> tuple[str, str, str, str, str]:
        name = s.metric if len(probes[s.metric]) == 1 else f"{s.probe}/{s.metric}"
        return s.path, name, s.design, s.probe, s.unit

    gathered = []
    for (path, name, design, probe, unit), group in groupby(sorted(counted, key=key), key=key):
        values = {s.round: s.value for s in group if s.value is not None}
        gathered.append(Series(design, path, probe, name, unit, values))
    return tuple(gathered)


def ratios(one: Series, baseline: Series) -> dict[int, float]:
    """By round: the value over the baseline's of the same round. Rounds that lack either are left out."""
    shared = sorted(one.values.keys() & baseline.values.keys())
    return {r: one.values[r] / baseline.values[r] for r in shared if baseline.values[r] != 0}


def verdict(better: Literal["lower", "higher"] | None, ratio: Interval | None, pairs: int) -> Verdict:
    """What the interval of the ratio allows one to say; for fewer than 5 rounds nothing."""
    if better is None:
        return ""
    if ratio is None or pairs < MIN_ROUNDS_FOR_VERDICT or ratio.low <= 1 <= ratio.high:
        return "not resolved"
    return "faster" if (ratio.low > 1) == (better == "higher") else "slower"


def summarise(all_series: Sequence[Series], baseline: str) -> tuple[Summary, ...]:
    """One summary a series, in the same order."""
    baselines = {(s.path, s.metric): s for s in all_series if s.design == baseline}
    return tuple(_summary(one, baselines.get((one.path, one.metric))) for one in all_series)


def _summary(one: Series, baseline: Series | None) -> Summary:
    paired = ratios(one, baseline) if baseline else {}
    value = interval(one.values.values())
    ratio = interval(paired.values()) if paired else None
    better = metrics.known(one.metric).better
    return Summary(
        design=one.design,
        path=one.path,
        metric=one.metric,
        unit=one.unit,
        rounds=len(one.values),
        median=value.median,
        ci_low=value.low,
        ci_high=value.high,
        ratio=ratio.median if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        verdict="baseline" if one is baseline else verdict(better, ratio, len(paired)),
        pairs=len(paired),
    )


def false_verdicts(summaries: Iterable[Summary]) -> tuple[int, float]:
    """How many verdicts were sought among what reports show, and how many of them chance alone would give.

    An interval misses a true ratio of 1 with probability 1 - coverage; looking often is not corrected for.
    """
    compared = [
        s.pairs
        for s in summaries
        if metrics.known(s.metric).in_table and s.verdict in ("faster", "slower", "not resolved")
    ]
    return len(compared), sum(1 - coverage(n) for n in compared if n >= MIN_ROUNDS_FOR_VERDICT)


def pooled(histograms: Iterable[Histogram]) -> tuple[Histogram, ...]:
    """For each design, path and probe, the values of all counted rounds as one histogram."""

    def key(h: Histogram) -> tuple[str, str, str, str]:
        return h.path, h.probe, h.metric, h.design

    counted = sorted((h for h in histograms if h.round != WARM_UP_ROUND), key=key)
    whole = []
    for _, group in groupby(counted, key=key):
        parts = list(group)
        values, counts = merged(parts)
        if len(values):
            whole.append(replace(parts[0], round=ALL_ROUNDS, values=values, counts=counts))
    return tuple(whole)


def percentiles(histogram: Histogram) -> dict[float, float]:
    """The percentiles that reports show, in the histogram's unit, where enough values stand behind them."""
    wanted = [m.percentile for m in metrics.METRICS.values() if m.percentile is not None]
    return {q: histogram.percentile(q) for q in wanted if histogram.total >= metrics.MIN_VALUES.get(q, 1)}


def to_csv(summaries: Iterable[Summary]) -> str:
    """The text of summary.csv. An empty cell: the number does not exist."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for summary in summaries:
        cells = (getattr(summary, column) for column in COLUMNS)
        rows.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue()
