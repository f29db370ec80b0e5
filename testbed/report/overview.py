"""The first table of a report: a row a design, a column a headline metric, each with what the run says of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.report import counts, metrics, words
from testbed.report.run import Path, Run
from testbed.report.statistics import Summary, Verdict
from testbed.spec.scenario import AA

COST = "cpu_per_gbit"
"""Shown beside the headline metrics: what a design costs."""
MOST_ROUNDS = 8
"""More than this many times the rounds of the run are not recommended."""


@dataclass(frozen=True)
class Entry:
    """One metric of one design."""

    text: str
    """The baseline's value, the difference from the baseline with its interval, or the interval alone."""
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    cell: str
    """Of a sweep; empty without one."""
    design: str
    entries: tuple[Entry, ...]
    """One per column."""


@dataclass(frozen=True)
class Overview:
    """All designs on one path."""

    path: Path
    columns: tuple[str, ...]
    """Titles of the metrics."""
    rows: tuple[Row, ...]


def overviews(run: Run, summaries: Sequence[Summary]) -> tuple[Overview, ...]:
    """One table for each path that has a headline metric, in the order of the scenario."""
    found = []
    for path in run.paths:
        here = {(s.cell, s.design, s.metric): s for s in summaries if s.path == path.name}
        names = sorted(
            {metric for *_, metric in here if metrics.bare(metric) in (*run.headline, COST)},
            key=lambda name: _order(run, name),
        )
        if any(metrics.bare(name) in run.headline for name in names):
            titles = tuple(metrics.title(name) for name in names) + ((counts.TITLE,) if run.counts else ())
            found.append(Overview(path, titles, tuple(_rows(run, path.name, here, names))))
    return tuple(found)


def _order(run: Run, name: str) -> tuple[int, str]:
    """Headline metrics in the order of the scenario, then the cost."""
    bare = metrics.bare(name)
    return (run.headline.index(bare) if bare in run.headline else len(run.headline), name)


def _rows(run: Run, path: str, here: Mapping[tuple[str, str, str], Summary], names: Sequence[str]) -> Iterator[Row]:
    measured = {cell for cell, *_ in here}
    for cell in [cell.name for cell in run.cells if cell.name in measured] or [""]:
        for arm in run.arms:
            found = [here.get((cell, arm, name)) for name in names]
            count = counts.count_of(run.counts, cell, arm, path)
            if any(found) or count is not None:
                name = words.OWN_NOISE if arm == AA else arm
                entries = [_entry(s) if s else Entry(words.NOTHING, "") for s in found]
                if run.counts:
                    entries.append(Entry(words.NOTHING if count is None else f"{count:,.0f}", ""))
                yield Row(cell, name, tuple(entries))


def _entry(s: Summary) -> Entry:
    if s.verdict == "baseline" or s.ratio is None:
        return Entry(words.value(s), s.verdict)
    low, high = (words.rounded_percent(end) for end in (s.ratio_low, s.ratio_high))
    if s.pairs < 2 or metrics.known(s.metric).exact:
        return Entry(words.rounded_percent(s.ratio), s.verdict)
    span = f"{low.removesuffix('%')}..{high}"
    return Entry(span if s.verdict == "not resolved" else f"{words.rounded_percent(s.ratio)} ({span})", s.verdict)


def more_rounds(run: Run, summaries: Sequence[Summary]) -> str:
    """What further rounds would resolve; empty if nothing is open, or if they would not help."""
    headline = [s for s in summaries if s.family == "headline" and s.design != AA]
    unresolved = [s for s in headline if s.verdict == "not resolved"]
    if not unresolved or not run.rounds:
        return ""
    needed = sorted(int(s.needed) for s in unresolved if s.needed <= MOST_ROUNDS * run.rounds)
    text = f"Not resolved: {len(unresolved)} of {len(headline)} headline comparisons; their intervals are in the table."
    if not needed:
        return f"{text} More rounds would hardly help: these differences are small, or within the machine's own noise."
    rounds = max(needed[(len(needed) - 1) // 2], run.rounds + 1)
    resolved = sum(n <= rounds for n in needed)
    return f"{text} About {rounds} rounds would resolve {resolved} of them, if they differ by what was seen."
