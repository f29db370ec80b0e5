"""The first table of a report: a row a design, a column a headline metric, each with what the run says of it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.report import counts, metrics, words
from testbed.report.run import Path, Run
from testbed.report.statistics import MIN_ROUNDS_FOR_VERDICT, Summary, Verdict
from testbed.spec.limits import MAX_ROUNDS
from testbed.spec.scenario import AA
from testbed.spec.types import minutes

COST = "cpu_per_gbit"
"""Shown beside the headline metrics: what a design costs."""
OPEN = "to resolve"
"""Heading of the last column."""
WITHIN_NOISE = "within the noise"
"""Instead of a number of rounds that is out of proportion."""
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
    open: str
    """What would resolve the unresolved headline differences; empty if there is none."""


@dataclass(frozen=True)
class Overview:
    """All designs on one path."""

    path: Path
    columns: tuple[str, ...]
    """Titles of the metrics."""
    rows: tuple[Row, ...]

    @property
    def has_open(self) -> bool:
        """Whether any row has something to resolve."""
        return any(row.open for row in self.rows)


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
                is_open = "" if arm == AA else _open(run, [s for s in found if s])
                yield Row(cell, name, tuple(entries), is_open)


def _entry(s: Summary) -> Entry:
    if s.verdict == "baseline" or s.ratio is None:
        return Entry(words.value(s), s.verdict)
    low, high = (words.rounded_percent(end) for end in (s.ratio_low, s.ratio_high))
    if s.pairs < 2 or metrics.known(s.metric).exact:
        return Entry(words.rounded_percent(s.ratio), s.verdict)
    span = f"{low.removesuffix('%')}..{high}"
    return Entry(span if s.verdict == "not resolved" else f"{words.rounded_percent(s.ratio)} ({span})", s.verdict)


def _open(run: Run, row: Sequence[Summary]) -> str:
    """What would resolve the unresolved headline differences of a design, such as `about 12 rounds, 3 min more`."""
    unresolved = [s for s in row if _is_open(run, s)]
    if not unresolved:
        return ""
    if few := [s for s in unresolved if s.pairs < MIN_ROUNDS_FOR_VERDICT]:
        return _cost(run, run.rounds + MIN_ROUNDS_FOR_VERDICT - min(s.pairs for s in few))
    needed = [rounds for s in unresolved if (rounds := _needed(run, s))]
    return _cost(run, max(needed)) if needed else WITHIN_NOISE


def _is_open(run: Run, s: Summary) -> bool:
    is_headline = metrics.bare(s.metric) in run.headline and s.design != AA
    return is_headline and s.verdict == "not resolved" and s.ratio is not None


def _needed(run: Run, s: Summary) -> int | None:
    """The number of rounds that would resolve a comparison; None if that is out of proportion."""
    most = min(MOST_ROUNDS * run.rounds, MAX_ROUNDS)
    return max(int(s.needed), run.rounds + 1) if s.needed <= most else None


def _cost(run: Run, rounds: int) -> str:
    """A number of rounds, with the time that it takes."""
    return ", ".join([f"about {rounds} rounds", *_more(run, rounds)])


def _more(run: Run, rounds: int) -> Iterator[str]:
    """The time that this number of rounds still takes, if known."""
    if run.round_seconds and rounds > run.rounds:
        yield f"{minutes((rounds - run.rounds) * run.round_seconds)} more"


def rounds_to_resolve(run: Run, summaries: Sequence[Summary]) -> int | None:
    """The number of rounds that resolve most headline differences for each further round; None if none would help."""
    unresolved = [s for s in summaries if _is_open(run, s)]
    if any(s.pairs < MIN_ROUNDS_FOR_VERDICT for s in unresolved) and run.rounds < MIN_ROUNDS_FOR_VERDICT:
        return MIN_ROUNDS_FOR_VERDICT
    needed = sorted(rounds for s in unresolved if (rounds := _needed(run, s)))
    return max(needed, key=lambda rounds: sum(n <= rounds for n in needed) / (rounds - run.rounds), default=None)


def more_rounds(run: Run, summaries: Sequence[Summary]) -> str:
    """What further rounds would resolve; empty if nothing is open."""
    headline = [s for s in summaries if metrics.bare(s.metric) in run.headline and s.design != AA and s.pairs]
    unresolved = [s for s in headline if _is_open(run, s)]
    if not unresolved or not run.rounds:
        return ""
    compared = sum(s.verdict != "baseline" for s in headline)
    text = f"Not resolved: {len(unresolved)} of {compared} headline comparisons; their intervals are in the table."
    rounds = rounds_to_resolve(run, unresolved)
    if rounds is None:
        return f"{text} More rounds would hardly help: these differences are small, or within the machine's own noise."
    if run.rounds < MIN_ROUNDS_FOR_VERDICT:
        return f"{text} A verdict requires {MIN_ROUNDS_FOR_VERDICT} rounds."
    resolved = sum((_needed(run, s) or math.inf) <= rounds for s in unresolved)
    more = "".join(f" ({time})" for time in _more(run, rounds))
    return f"{text} About {rounds} rounds{more} would resolve {resolved} of them, if they differ by what was seen."
