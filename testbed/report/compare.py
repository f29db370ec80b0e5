"""Comparison of two runs: another kernel, another machine, another version of a design.

Rounds of two runs have nothing in common, so they cannot be paired: each run's rounds are resampled separately, and the
logs are compared by Welch's t test. Within a run a round is a block. `relative` uses this: each design's values become
ratios to its own run's baseline, round by round, and these ratios are compared. On a machine that is faster at
everything, the ratios stay the same.

All functions are pure.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from testbed.experiment.results import WARM_UP_ROUND, Histogram, Results
from testbed.report import metrics, statistics
from testbed.report.differences import Difference, differences
from testbed.report.paired import ALPHA, MIN_ROUNDS_FOR_VERDICT, benjamini_hochberg, holm
from testbed.report.run import Run, read_run
from testbed.report.statistics import Family, Series, Verdict, exact_verdict, ratios
from testbed.report.unpaired import Evidence, Welch, draws, interval, plain, pooled, smallest, welch
from testbed.spec.scenario import AA, HEADLINE

LARGEST_LOG = math.log(sys.float_info.max)

Key = tuple[str, str, str, str, str]
"""Cell, design, path, metric and unit."""


class NotComparable(Exception):
    """Two runs cannot be compared. The message says why."""


@dataclass(frozen=True)
class Comparison:
    """One number of NEW compared with the same number of OLD."""

    cell: str
    design: str
    path: str
    metric: str
    """`PROBE/METRIC` if several probes measure the same metric."""
    unit: str
    """Of `old` and `new`; empty if they are ratios to the baseline."""
    probe: str
    rounds_old: int
    rounds_new: int
    old: float
    """The median over rounds, or the percentile of all rounds' values; if relative, of ratios to the baseline."""
    new: float
    ratio: float | None
    """NEW over OLD; None if OLD is 0."""
    ratio_low: float | None
    ratio_high: float | None
    """The 95% bootstrap interval; each run's rounds are resampled separately."""
    family: Family
    """Which correction the comparison belongs to; empty if it was not tested."""
    p_value: float | None
    """Of Welch's t test on logs, adjusted for the number of comparisons of the family; None without a test."""
    smallest: float | None
    """The smallest difference that is detected with 90% probability, as a fraction."""
    floor: float
    """The larger A/A difference of both runs, as a fraction."""
    verdict: Verdict


@dataclass(frozen=True)
class Compared:
    """The result of comparing two runs."""

    old: Run
    new: Run
    relative: bool
    """Whether ratios to each run's baseline were compared."""
    comparisons: tuple[Comparison, ...]
    """By path, metric, cell and design, each in the order of OLD's scenario."""
    only_old: tuple[str, ...]
    """What is missing in NEW, as text."""
    only_new: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def is_exact(self) -> bool:
        """Whether all numbers are counts."""
        return all(metrics.known(c.metric).exact for c in self.comparisons)


def compare(old: Results, new: Results, relative: bool = False) -> Compared:
    """Compare all common measurements. Raises NotComparable if there are none, or if baselines to relate to differ."""
    runs = read_run(old), read_run(new)
    gathered = statistics.series(old.samples), statistics.series(new.samples)
    names = _names(*gathered)
    sides = [
        _Side(number, run, _keyed(series, names), _by_round(results.histograms))
        for number, (run, series, results) in enumerate(zip(runs, gathered, (old, new), strict=True))
    ]
    if relative and runs[0].baseline != runs[1].baseline:
        raise NotComparable(
            f"ratios to different baselines cannot be compared: {runs[0].baseline or 'none'} in {runs[0].folder}, "
            f"{runs[1].baseline or 'none'} in {runs[1].folder}; omit --relative"
        )
    drafts = list(_drafts(sides[0], sides[1], relative))
    if not drafts:
        raise NotComparable(
            f"{runs[0].folder} and {runs[1].folder} have no measurement in common"
            + (" except the baseline's; omit --relative" if relative and sides[0].common(sides[1]) else "")
            + "".join(f"\n  only {name} has {part}" for name, part in _only_in_either(*sides))
        )
    return Compared(
        *runs,
        relative,
        tuple(sorted(judged(drafts, runs[0].headline), key=lambda c: _order(runs[0], c))),
        tuple(_only(sides[0], sides[1])),
        tuple(_only(sides[1], sides[0])),
        differences(old, new, *runs),
    )


# From samples to comparable numbers


@dataclass(frozen=True)
class _Side:
    """One of the two runs."""

    number: int
    """0 for OLD, 1 for NEW."""
    run: Run
    series: Mapping[Key, Series]
    histograms: Mapping[tuple[str, ...], Mapping[int, Histogram]]

    def common(self, other: "_Side") -> list[Key]:
        return [key for key in self.series if key in other.series and key[1] != AA]

    def distribution(self, one: Series) -> Mapping[int, Histogram]:
        """The histograms of a percentile's distribution, by round; empty for other metrics."""
        name, _, at = one.metric.partition("@")
        distribution = metrics.known(name).distribution + (f"@{at}" if at else "")
        return self.histograms.get((one.cell, one.design, one.path, one.probe, distribution), {})

    def evidence(self, key: Key) -> Evidence:
        """The evidence of a number; a percentile is taken over all rounds' values if these were kept."""
        one = self.series[key]
        drawn = draws(self.number, len(one.values))
        histograms = self.distribution(one)
        values = np.array(list(one.values.values()))
        if not one.values.keys() <= histograms.keys():
            return plain(values, drawn)
        q = metrics.known(one.metric).percentile
        return Evidence(values, *pooled([histograms[r] for r in one.values], q, drawn))

    def against_baseline(self, key: Key) -> Evidence | None:
        """The evidence of a design's ratios to the baseline, round by round; None if no round has both."""
        cell, _, path, metric, unit = key
        one, baseline = self.series.get(key), self.series.get((cell, self.run.baseline, path, metric, unit))
        found = ratios(one, baseline) if one and baseline else {}
        return plain(np.array(list(found.values())), draws(self.number, len(found))) if found else None


def _names(old: Sequence[Series], new: Sequence[Series]) -> Mapping[str, bool]:
    """Whether a metric's name needs its probe, because one of the runs measured it with several; by metric."""
    probes: list[dict[str, set[str]]] = [{}, {}]
    for found, some in zip(probes, (old, new), strict=True):
        for one in some:
            found.setdefault(_plain_name(one), set()).add(one.probe)
    return {name: any(len(found.get(name, ())) > 1 for found in probes) for found in probes for name in found}


def _plain_name(one: Series) -> str:
    return one.metric.rpartition("/")[2]


def _keyed(series: Sequence[Series], with_probe: Mapping[str, bool]) -> dict[Key, Series]:
    found = {}
    for one in series:
        name = _plain_name(one)
        named = f"{one.probe}/{name}" if with_probe[name] else name
        found[(one.cell, one.design, one.path, named, one.unit)] = replace(one, metric=named)
    return found


def _by_round(histograms: Sequence[Histogram]) -> dict[tuple[str, ...], dict[int, Histogram]]:
    found: dict[tuple[str, ...], dict[int, Histogram]] = {}
    for h in histograms:
        if h.round != WARM_UP_ROUND and h.total:
            found.setdefault((h.cell, h.design, h.path, h.probe, h.metric), {})[h.round] = h
    return found


# From two runs' rounds to a verdict


@dataclass(frozen=True)
class Draft:
    """A comparison before correction for the number of comparisons."""

    key: Key
    probe: str
    old: Evidence
    new: Evidence
    floor: float
    """The larger absolute log ratio of both A/A arms."""


def _drafts(old: _Side, new: _Side, relative: bool) -> Iterator[Draft]:
    for key in old.common(new):
        cell, design, path, metric, unit = key
        if relative and design == old.run.baseline:
            continue
        probe = new.series[key].probe
        floor = max(_aa(side, (cell, AA, path, metric, unit)) for side in (old, new))
        if not relative:
            yield Draft(key, probe, old.evidence(key), new.evidence(key), floor)
            continue
        ones = [side.against_baseline(key) for side in (old, new)]
        if ones[0] and ones[1]:
            yield Draft((cell, design, path, metric, ""), probe, ones[0], ones[1], floor)


def _aa(side: _Side, key: Key) -> float:
    """The absolute log ratio of the run's A/A arm; 0 without one."""
    itself = side.against_baseline(key)
    return abs(math.log(itself.point)) if itself and itself.point > 0 else 0.0


@dataclass(frozen=True)
class _Tested:
    """A comparison that can get a verdict."""

    family: Family
    test: Welch
    p_value: float
    """Adjusted."""
    seen: float
    """The smallest log ratio that is detected with 90% probability."""


def judged(drafts: Sequence[Draft], headline: Sequence[str] = HEADLINE) -> list[Comparison]:
    """The comparisons with their verdicts, corrected for the number of comparisons in the same two families as a run's.

    Headline metrics: the probability of one or more false verdicts is at most ALPHA. All others: at most a share of
    ALPHA of their verdicts is false on average.
    """
    families: dict[Family, list[int]] = {"headline": [], "other": []}
    tests = {i: test for i, draft in enumerate(drafts) if (test := _test(draft)) is not None}
    for i in tests:
        families["headline" if metrics.bare(drafts[i].key[3]) in headline else "other"].append(i)
    found: dict[int, _Tested] = {}
    for family, members in families.items():
        own = [tests[i] for i in members]
        if not own:
            continue
        p_values = np.array([test.p_value for test in own])
        adjusted = np.minimum(holm(p_values) if family == "headline" else benjamini_hochberg(p_values), 1)
        seen = smallest(own, [drafts[i].floor for i in members], ALPHA / len(own))
        for i, test, p_value, size in zip(members, own, adjusted.tolist(), seen.tolist(), strict=True):
            found[i] = _Tested(family, test, p_value, size)
    return [_judged(draft, found.get(i)) for i, draft in enumerate(drafts)]


def _test(draft: Draft) -> Welch | None:
    """The test; None if the comparison cannot get a verdict."""
    enough = min(len(draft.old.values), len(draft.new.values)) >= MIN_ROUNDS_FOR_VERDICT
    directed = metrics.known(draft.key[3]).better is not None and not metrics.known(draft.key[3]).exact
    return welch(draft.old.values, draft.new.values) if enough and directed else None


def _judged(draft: Draft, tested: _Tested | None) -> Comparison:
    cell, design, path, metric, unit = draft.key
    old, new = draft.old, draft.new
    span = interval(old, new)
    return Comparison(
        cell=cell,
        design=design,
        path=path,
        metric=metric,
        unit=unit,
        probe=draft.probe,
        rounds_old=len(old.values),
        rounds_new=len(new.values),
        old=old.point,
        new=new.point,
        ratio=new.point / old.point if old.point else None,
        ratio_low=span[0] if span else None,
        ratio_high=span[1] if span else None,
        family=tested.family if tested else "",
        p_value=tested.p_value if tested else None,
        smallest=math.expm1(tested.seen) if tested and tested.seen < LARGEST_LOG else None,
        floor=math.expm1(draft.floor),
        verdict=_verdict(draft, tested, span),
    )


def _verdict(draft: Draft, tested: _Tested | None, span: tuple[float, float] | None) -> Verdict:
    """The verdict. Resolved if the interval excludes 1, the test agrees, and the ratio exceeds the A/A difference."""
    better = metrics.known(draft.key[3]).better
    if better is None:
        return ""
    if metrics.known(draft.key[3]).exact:
        return exact_verdict(draft.new.point / draft.old.point if draft.old.point else None)
    if tested is None or span is None:
        return "not resolved"
    grew = tested.test.difference > 0
    outside = span[0] > 1 if grew else span[1] < 1
    if not outside or tested.p_value >= ALPHA or abs(math.log(draft.new.point / draft.old.point)) <= draft.floor:
        return "not resolved"
    return "faster" if grew == (better == "higher") else "slower"


# Order, and what only one run has


def _order(run: Run, c: Comparison) -> tuple[object, ...]:
    def place(name: str, names: Sequence[str]) -> int:
        return names.index(name) if name in names else len(names)

    paths, cells = [path.name for path in run.paths], [cell.name for cell in run.cells]
    where = place(c.path, paths), c.path, metrics.order(c.metric), place(c.cell, cells), c.cell
    return *where, place(c.design, run.arms), c.design


def _only_in_either(old: _Side, new: _Side) -> Iterator[tuple[str, str]]:
    yield from ((old.run.folder, part) for part in _only(old, new))
    yield from ((new.run.folder, part) for part in _only(new, old))


def _only(side: _Side, other: _Side) -> Iterator[str]:
    """What is only in one run: whole cells, designs, paths and metrics first, then single measurements."""
    keys, others = ([key for key in one.series if key[1] != AA] for one in (side, other))
    missing: list[set[str]] = []
    for index, (one, many) in enumerate(
        (("cell", "cells"), ("design", "designs"), ("path", "paths"), ("metric", "metrics"))
    ):
        there = {key[index] for key in others}
        names = list(dict.fromkeys(key[index] for key in keys if key[index] not in there and (key[index] or there)))
        missing.append(set(names))
        if names:
            yield f"the {one if len(names) == 1 else many} {', '.join(name or 'without a sweep' for name in names)}"
    single: dict[str, list[str]] = {}
    for key in keys:
        if key not in other.series and not any(name in gone for name, gone in zip(key, missing, strict=False)):
            cell, design, path, metric, unit = key
            in_unit = f" in {unit}" if any(key[:4] == there[:4] for there in others) else ""
            single.setdefault(" ".join(filter(None, (design, path, cell))), []).append(f"{metric}{in_unit}")
    for where, measured in single.items():
        yield f"{where}: {', '.join(measured)}"
