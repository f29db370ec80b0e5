"""From samples to summaries: medians over rounds, ratios to the same round's baseline, intervals, verdicts.

Each round measures each design once, so a round is a block: disturbances of the machine affect all designs in it.
Therefore designs are compared within a round (`ratio`), and rounds are counted (`n`) and resampled.

Computations use the logarithm of a ratio, in which 2 and 1/2 are equally far from 1.

All functions are pure. Round 0 is the warm-up and never counts. For tests and intervals, see `paired`.
"""

import csv
import io
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import exp, expm1, log
from typing import Literal

import numpy as np
import numpy.typing as npt

from testbed.experiment.results import WARM_UP_ROUND, Histogram, Sample, merged
from testbed.report import metrics
from testbed.report.paired import (
    ALPHA,
    CONFIDENCE,
    MIN_ROUNDS_FOR_VERDICT,
    RESAMPLES,
    Interval,
    Layout,
    coverage,
    decide,
    holm,
    intervals,
    pooled_interval,
    smallest_effect,
)
from testbed.spec.scenario import AA, HEADLINE, LIMITS

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "MIN_ROUNDS_FOR_VERDICT",
    "RESAMPLES",
    "RESOLVED",
    "Series",
    "Summary",
    "Verdict",
    "comparisons",
    "coverage",
    "exact_verdict",
    "holm",
    "percentiles",
    "pooled",
    "ratios",
    "series",
    "settled",
    "smallest_effect",
    "summarise",
    "to_csv",
]

Verdict = Literal["faster", "slower", "shorter", "longer", "equal", "not resolved", "baseline", ""]
"""`shorter`, `longer` and `equal` are of counts: path length is not speed."""

RESOLVED: tuple[Verdict, ...] = ("faster", "slower", "shorter", "longer")
"""The verdicts that tell a difference."""

Family = Literal["headline", "other", ""]
"""`headline`: the probability of one or more false verdicts in the family is at most 5%. `other`: at most 5% of its
verdicts are false on average."""

COLUMNS = (
    *("cell", "design", "path", "metric", "unit", "rounds", "median", "ci_low", "ci_high"),
    *("ratio", "ratio_low", "ratio_high", "family", "p_value", "smallest", "verdict"),
)
"""The columns of summary.csv."""

ALL_ROUNDS = -1
"""The round of a histogram that holds those of all counted rounds."""


@dataclass(frozen=True)
class Series:
    """The counted rounds of one design, path and metric in one cell."""

    cell: str
    design: str
    """`aa` for the second measurement of the baseline."""
    path: str
    probe: str
    metric: str
    """As in samples.csv; `PROBE/METRIC` if several probes measure the same metric."""
    unit: str
    values: Mapping[int, float]
    """By round; rounds without a value are absent."""


@dataclass(frozen=True)
class Summary:
    """A row of summary.csv. Values are in `unit`; a ratio is this design's value over the baseline's."""

    cell: str
    """Of a sweep; empty without one."""
    design: str
    path: str
    metric: str
    """`PROBE/METRIC` if several probes measure the same metric."""
    unit: str
    rounds: int
    """Number of counted rounds with a value."""
    median: float
    """The median over rounds; for a percentile, the percentile of all counted rounds' raw values together."""
    ci_low: float
    ci_high: float
    """The interval contains the true value with a probability of about `coverage(rounds)`."""
    ratio: float | None
    """The median over rounds of this design's value over the same round's baseline value."""
    ratio_low: float | None
    ratio_high: float | None
    family: Family
    """Which correction the comparison belongs to; empty if it was not tested."""
    p_value: float | None
    """Of the paired t test, adjusted for the number of looks and for the number of comparisons of the family; a verdict
    requires less than 0.05."""
    smallest: float | None
    """The smallest difference that this comparison detects with 90% probability: 0.03 is a ratio of 1.03 or 1/1.03."""
    verdict: Verdict
    probe: str = ""
    """No column."""
    needed: float = math.inf
    """The number of rounds that would resolve the difference seen at the next look; infinite if it is the machine's
    noise. No column."""
    pairs: int = 0
    """Number of rounds in which the baseline has a value too. No column."""


def series(samples: Iterable[Sample]) -> tuple[Series, ...]:
    """The counted samples as series, sorted by cell, path and metric. Series without any value are absent."""
    counted = [s for s in samples if s.round != WARM_UP_ROUND and s.design != LIMITS and s.value is not None]
    probes: dict[str, set[str]] = {}
    for sample in counted:
        probes.setdefault(sample.metric, set()).add(sample.probe)

    def key(s: Sample) -> tuple[str, str, str, str, str, str]:
        name = s.metric if len(probes[s.metric]) == 1 else f"{s.probe}/{s.metric}"
        return s.cell, s.path, name, s.design, s.probe, s.unit

    gathered = []
    for (cell, path, name, design, probe, unit), group in groupby(sorted(counted, key=key), key=key):
        values = {s.round: s.value for s in group if s.value is not None}
        gathered.append(Series(cell, design, path, probe, name, unit, values))
    return tuple(gathered)


def ratios(one: Series, baseline: Series) -> dict[int, float]:
    """Values over the baseline's values of the same round, by round. Rounds that lack either are omitted."""
    shared = sorted(one.values.keys() & baseline.values.keys())
    return {r: one.values[r] / baseline.values[r] for r in shared if baseline.values[r] > 0 and one.values[r] >= 0}


def summarise(
    all_series: Sequence[Series],
    baseline: str,
    histograms: Iterable[Histogram] = (),
    look: int = 1,
    headline: Sequence[str] = HEADLINE,
) -> tuple[Summary, ...]:
    """One summary per series, in the same order; then percentiles that need the values of all rounds together.

    `look` is the number of this look at the run, as for `alpha`; `headline` names the metrics that the run is about.
    Percentiles are taken from the raw values in `histograms`; they are absent if there are too few values. Of a folder
    without histograms, a percentile is the median over rounds of each round's percentile.
    """
    raw = _by_arm(histograms)
    shown = [s for s in (*all_series, *_tails(all_series, raw)) if not raw or not _percentile(s) or _behind(s, raw)]
    baselines = {_where(s): s for s in shown if s.design == baseline}
    logs = [_logs(s, baselines.get(_where(s))) for s in shown]
    values = _intervals_of([{} if raw and _percentile(s) else s.values for s in shown])
    spans = _intervals_of(logs)
    judged = _judged(shown, logs, baseline, look, headline)
    return tuple(
        _summary(
            s,
            values[i] or pooled_interval(_behind(s, raw), _percentile(s)),
            len(_behind(s, raw)) or len(s.values),
            spans[i],
            len(logs[i]),
            "baseline" if s.design == baseline else _verdict(s, judged.get(i), spans[i]),
            judged.get(i),
        )
        for i, s in enumerate(shown)
    )


def _summary(
    s: Series,
    value: Interval,
    rounds: int,
    log: Interval | None,
    pairs: int,
    verdict: Verdict,
    judged: "_Judged | None",
) -> Summary:
    return Summary(
        cell=s.cell,
        design=s.design,
        path=s.path,
        metric=s.metric,
        unit=s.unit,
        rounds=rounds,
        median=value.median,
        ci_low=value.low,
        ci_high=value.high,
        ratio=exp(log.median) if log else None,
        ratio_low=exp(log.low) if log else None,
        ratio_high=exp(log.high) if log else None,
        family=judged.family if judged else "",
        p_value=judged.p_value if judged else None,
        smallest=judged.smallest if judged else None,
        verdict=verdict,
        probe=s.probe,
        needed=judged.needed if judged else math.inf,
        pairs=pairs,
    )


Arm = tuple[str, str, str, str, str]
"""Cell, design, path, probe and distribution, with its setting."""


def _by_arm(histograms: Iterable[Histogram]) -> dict[Arm, list[Histogram]]:
    """The counted rounds' histograms."""
    arms: dict[Arm, list[Histogram]] = {}
    for h in histograms:
        if h.round != WARM_UP_ROUND and h.design != LIMITS and h.total:
            arms.setdefault((h.cell, h.design, h.path, h.probe, h.metric), []).append(h)
    return arms


def _percentile(s: Series) -> float:
    """The percentile, 0 to 100; 0 for other metrics."""
    return metrics.known(s.metric).percentile


def _behind(s: Series, raw: Mapping[Arm, list[Histogram]]) -> list[Histogram]:
    """The raw values of a percentile, one histogram per round; empty if they are too few."""
    _, at, where = s.metric.partition("@")
    found = raw.get((s.cell, s.design, s.path, s.probe, metrics.known(s.metric).distribution + at + where), [])
    needed = metrics.MIN_VALUES.get(_percentile(s), 1)
    return found if sum(h.total for h in found) >= needed else []


def _tails(all_series: Iterable[Series], raw: Mapping[Arm, list[Histogram]]) -> Iterator[Series]:
    """Percentiles for which no single round has enough values."""
    known = {(s.cell, s.design, s.path, s.probe, s.metric.rpartition("/")[2]) for s in all_series}
    for (*where, distribution), parts in sorted(raw.items()):
        probes = {probe for *_, probe, other in raw if other == distribution}
        name, at, measured_at = distribution.partition("@")
        for metric in metrics.METRICS.values():
            full = metric.name + at + measured_at
            if metric.distribution == name and (*where, full) not in known:
                cell, design, path, probe = where
                shown = full if len(probes) == 1 else f"{probe}/{full}"
                yield Series(cell, design, path, probe, shown, parts[0].unit, {})


def _logs(one: Series, baseline: Series | None) -> dict[int, float]:
    """Logarithms of the ratios, by round. A ratio of 0 counts as the smallest float."""
    found = ratios(one, baseline) if baseline else {}
    return {r: log(max(ratio, sys.float_info.min)) for r, ratio in found.items()}


def _intervals_of(all_values: Sequence[Mapping[int, float]]) -> list[Interval | None]:
    """The interval of each mapping's values; None if it is empty."""
    rows = [np.array(list(values.values())) for values in all_values]
    having = [i for i, row in enumerate(rows) if len(row)]
    found = dict(zip(having, intervals([rows[i] for i in having]).tolist(), strict=True))
    return [Interval(*found[i]) if i in found else None for i in range(len(rows))]


@dataclass(frozen=True)
class _Judged:
    """One comparison that could get a verdict."""

    family: Family
    p_value: float
    smallest: float | None
    """As a fraction; None if it exceeds the range of a float."""
    needed: float
    side: int


def _judged(
    shown: Sequence[Series],
    logs: Sequence[Mapping[int, float]],
    baseline: str,
    look: int,
    headline: Sequence[str],
) -> dict[int, _Judged]:
    """The comparisons that could get a verdict, by the index of their series.

    These are comparisons with the baseline, with enough rounds, of metrics with a direction. The correction is for
    their number.
    """
    tested = [
        i
        for i, s in enumerate(shown)
        if s.design != baseline
        and metrics.known(s.metric).better
        and not metrics.known(s.metric).exact
        and len(logs[i]) >= MIN_ROUNDS_FOR_VERDICT
    ]
    columns = {r: column for column, r in enumerate(sorted({r for i in tested for r in logs[i]}))}
    matrix = np.full((len(tested), len(columns)), np.nan)
    for row, i in enumerate(tested):
        matrix[row, [columns[r] for r in logs[i]]] = list(logs[i].values())
    layout = _layout([shown[i] for i in tested], headline)
    found = decide(matrix, layout, look)
    return {
        i: _Judged(
            "headline" if layout.headline[row] else "other",
            float(found.p_value[row]),
            _fraction(float(found.smallest[row])),
            float(found.needed[row]),
            int(found.side[row]),
        )
        for row, i in enumerate(tested)
    }


def _layout(tested: Sequence[Series], headline: Sequence[str]) -> Layout:
    """How comparisons belong together, from the names of their series."""
    again = {_where(s): row for row, s in enumerate(tested) if s.design == AA}
    return Layout(
        aa=np.array([again.get(_where(s), -1) if s.design != AA else -1 for s in tested], dtype=np.intp),
        kin=_numbered([(s.metric, s.probe, s.design) for s in tested]),
        metric=_numbered([(s.metric, s.probe) for s in tested]),
        headline=np.array([metrics.bare(s.metric) in headline for s in tested], dtype=np.bool_),
    )


def _numbered(keys: Sequence[tuple[str, ...]]) -> npt.NDArray[np.intp]:
    """A number for each key; equal keys have equal numbers."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.intp)


def _where(s: Series) -> tuple[str, str, str]:
    return s.cell, s.path, s.metric


def _fraction(log_ratio: float) -> float | None:
    return expm1(log_ratio) if log_ratio < log(sys.float_info.max) else None


def exact_verdict(ratio: float | None) -> Verdict:
    """The verdict on a count, from its ratio to another one."""
    if ratio is None:
        return ""
    longer, shorter = ratio > 1 + metrics.EQUAL, ratio < 1 / (1 + metrics.EQUAL)
    return "longer" if longer else "shorter" if shorter else "equal"


def _verdict(s: Series, judged: _Judged | None, span: Interval | None) -> Verdict:
    better = metrics.known(s.metric).better
    if better is None:
        return ""
    if metrics.known(s.metric).exact:
        return exact_verdict(exp(span.median) if span else None)
    if judged is None or judged.side == 0:
        return "not resolved"
    return "faster" if (judged.side > 0) == (better == "higher") else "slower"


def comparisons(summaries: Iterable[Summary]) -> int:
    """The number of tested comparisons: all that could get a verdict, including the A/A arm's."""
    return sum(s.p_value is not None for s in summaries)


def settled(summaries: Iterable[Summary], enough: float) -> bool:
    """Whether each headline comparison is resolved, or could detect an effect of size `enough`, a fraction.

    Without any headline comparison, all others count. The A/A arm does not: it should stay unresolved.
    """
    summaries = tuple(summaries)
    headlines = tuple(s for s in summaries if s.family == "headline")
    return all(
        s.smallest is not None and s.smallest <= enough
        for s in headlines or summaries
        if s.verdict == "not resolved" and s.design != AA
    )


def pooled(histograms: Iterable[Histogram]) -> tuple[Histogram, ...]:
    """The values of all counted rounds, one histogram for each cell, path, probe, metric and design."""

    def key(h: Histogram) -> tuple[str, str, str, str, str]:
        return h.cell, h.path, h.probe, h.metric, h.design

    counted = sorted((part for parts in _by_arm(histograms).values() for part in parts), key=key)
    whole = []
    for _, group in groupby(counted, key=key):
        parts = list(group)
        values, counts = merged(parts)
        whole.append(replace(parts[0], round=ALL_ROUNDS, values=values, counts=counts))
    return tuple(whole)


def percentiles(histogram: Histogram) -> dict[float, float]:
    """The percentiles that reports show, in the histogram's unit, if it has enough values for them."""
    wanted = [m.percentile for m in metrics.METRICS.values() if m.distribution == metrics.bare(histogram.metric)]
    return {q: histogram.percentile(q) for q in wanted if histogram.total >= metrics.MIN_VALUES.get(q, 1)}


def to_csv(summaries: Iterable[Summary]) -> str:
    """The text of summary.csv. Missing numbers are empty cells."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for summary in summaries:
        cells = (getattr(summary, column) for column in COLUMNS)
        rows.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue()
