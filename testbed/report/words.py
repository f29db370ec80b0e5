"""Numbers and verdicts as words: what the terminal, Markdown and HTML say alike.

`Not resolved` never becomes `equal`: the words say what the run could not tell, and how large a difference it would
have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from testbed.report import metrics, statistics
from testbed.report.run import Design, Path, Run
from testbed.report.statistics import MIN_ROUNDS_FOR_VERDICT, Summary, Verdict
from testbed.spec.scenario import AA

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
LARGEST_NAMED = 1.0
"""A comparison that would only have seen a factor of two says nothing by naming it."""
MANY = 10_000
NOT_TO_BE_HAD = ("unavailable", "unfit")
"""States of designs that nothing is wrong with: the machine lacks what they need, or the topology cannot carry them."""
FEW_DESIGNS = 5
"""A sweep over so many, or over no more than it has cells, is told design by design; of more, cell by cell."""
NEAR_LIMIT = 0.9
"""A value beyond this part of what the probe reaches over loopback is said to be close to the probe's own limit."""


def _places(value: float) -> int:
    size = abs(value)
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3


def number(value: float | None) -> str:
    """About three significant digits, as a reader takes them in; `35.0k` for 35,000, as columns are narrow."""
    return NOTHING if value is None else _number(value, _thousands(value))


def _thousands(value: float) -> int:
    """How many times a value is told in thousands of thousands: from 10,000 on."""
    return 0 if abs(value) < MANY else 1 if abs(value) < 999_500 else 2


def _number(value: float, thousands: int, places: int | None = None) -> str:
    value /= 1000**thousands
    return f"{value:,.{_places(value) if places is None else places}f}{('', 'k', 'M')[thousands]}"


def ratio(value: float | None) -> str:
    """A thousandth matters near 1, and nothing so small does far from it."""
    return NOTHING if value is None else f"{value:.3f}" if value < 10 else number(value)


def span(low: float | None, high: float | None) -> str:
    """An interval; its ends with equally many places."""
    if low is None or high is None:
        return NOTHING
    thousands = _thousands(high)
    places = _places(high / 1000**thousands)
    return f"{_number(low, thousands, places)}..{_number(high, thousands, places)}"


def ratio_span(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{ratio(low)}..{ratio(high)}"


def unit(name: str) -> str:
    return "µs" if name == "us" else name


def value(s: Summary, *others: Summary) -> str:
    """The value with its unit; of several, the first `against` the next, in the unit of the first."""
    name, per = ("ms", 1000) if s.unit == "us" and s.median >= MANY else (unit(s.unit), 1)
    return f"{' against '.join(number(one.median / per) for one in (s, *others))}\N{NO-BREAK SPACE}{name}"


def percent(value: float | None) -> str:
    """A ratio as a difference: 0.9 is `-10.0%`."""
    if value is None:
        return NOTHING
    difference = round((value - 1) * 100, 1)
    return f"{difference:+.1f}%".replace("-", MINUS) if difference else "0.0%"


def size(effect: float) -> str:
    """An effect's size, for `under N%`: a tenth matters where it is small."""
    return f"{effect * 100:.1f}%" if effect < 0.0995 else f"{effect * 100:.0f}%"


def verdict(s: Summary) -> str:
    """The verdict; one that is not resolved with the smallest effect that would have been seen."""
    if s.verdict == "not resolved" and s.ratio is None:
        return "no baseline"
    if s.verdict == "not resolved" and s.pairs < MIN_ROUNDS_FOR_VERDICT:
        return "too few rounds"
    if s.verdict == "not resolved" and s.smallest is not None and s.smallest < LARGEST_NAMED:
        return f"{s.verdict} <{size(s.smallest)}"
    return s.verdict


def listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


@dataclass(frozen=True)
class Sentence:
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Answer:
    """What one metric on one path says of the designs."""

    path: Path
    title: str
    sentences: tuple[Sentence, ...]


def answers(run: Run, summaries: Sequence[Summary]) -> tuple[Answer, ...]:
    """For each path and main metric, in the order of the summaries."""
    found = []
    few = len(run.arms) <= max(len(run.cells), FEW_DESIGNS)
    for path in run.paths:
        here = [s for s in summaries if s.path == path.name and metrics.known(s.metric).main]
        for metric in dict.fromkeys(s.metric for s in here):
            rows = [s for s in here if s.metric == metric]
            told = _sentences(run, rows) if not run.cells else _by_design(run, rows) if few else _by_cell(run, rows)
            found.append(Answer(path, metrics.title(metric), tuple(told)))
    return tuple(found)


def _sentences(run: Run, rows: Sequence[Summary]) -> list[Sentence]:
    baseline = next((s for s in rows if s.verdict == "baseline"), None)
    others = [s for s in rows if s is not baseline and s.design != AA]
    if baseline is None:
        return [_alone(run, rows)]
    told = [Sentence("baseline", f"{baseline.design} alone has values: {value(baseline)}.")] if not others else []
    return [
        *told,
        *(_resolved(s, baseline) for s in others if s.verdict in ("faster", "slower")),
        *_unresolved([s for s in others if s.verdict == "not resolved"], baseline),
        *_against_itself(run, [s for s in rows if s.design == AA and s.ratio is not None]),
    ]


def _alone(run: Run, rows: Sequence[Summary]) -> Sentence:
    values = listed([f"{run.arm_title(s.design)} {value(s)}" for s in rows])
    lost = f"the baseline {run.baseline} has no value" if run.baseline else "no baseline is known"
    return Sentence("", f"Nothing to compare with, as {lost}: {values}.")


def _resolved(s: Summary, baseline: Summary) -> Sentence:
    text = f"{s.design} is {s.verdict} than {baseline.design}: {percent(s.ratio)} ({_range(s)}), {value(s, baseline)}."
    return Sentence(s.verdict, text)


def _unresolved(rows: Sequence[Summary], baseline: Summary) -> Iterator[Sentence]:
    """Says why, and which differences the run would have seen."""
    few = [f"{s.design} ({s.pairs} of {MIN_ROUNDS_FOR_VERDICT})" for s in rows if s.pairs < MIN_ROUNDS_FOR_VERDICT]
    if few:
        yield Sentence("not resolved", f"Too few rounds for a verdict: {listed(few)}.")
    wide = [f"{s.design} ({_room(s)})" for s in rows if s.pairs >= MIN_ROUNDS_FOR_VERDICT]
    if wide:
        yield Sentence("not resolved", f"Not resolved against {baseline.design}: {listed(wide)}.")


def _room(s: Summary) -> str:
    under = f"under {size(s.smallest)}; " if s.smallest is not None and s.smallest < LARGEST_NAMED else ""
    return f"{under}{_range(s)}"


def _against_itself(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """What the A/A arm showed."""
    for s in rows:
        if s.verdict in ("faster", "slower"):
            text = f"A/A: {run.baseline} came out {s.verdict} than itself ({_range(s)}), so doubt what is no larger."
            yield Sentence(s.verdict, text)
        else:
            yield Sentence("not resolved", f"A/A: {run.baseline} against itself {percent(s.ratio)} ({_range(s)}).")


def _by_design(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """One sentence a design: where it differs, and where that could not be told."""
    for arm in run.arms:
        own = [s for s in rows if s.design == arm and s.verdict != "baseline"]
        for kind, some in groupby(sorted(own, key=lambda s: s.verdict), key=lambda s: s.verdict):
            cells = list(some)
            if kind in ("faster", "slower"):
                where = listed([f"{s.cell} ({percent(s.ratio)})" for s in cells])
                yield Sentence(kind, f"{run.arm_title(arm)} is {kind} at {where}.")
            elif arm != AA:
                yield from _unresolved_at(run, arm, cells)


def _unresolved_at(run: Run, arm: str, rows: Sequence[Summary]) -> Iterator[Sentence]:
    title = run.arm_title(arm)
    if compared := [f"{s.cell} ({_room(s)})" for s in rows if s.ratio is not None]:
        yield Sentence("not resolved", f"{title} is not resolved at {listed(compared)}.")
    if alone := [f"{value(s)} at {s.cell}" for s in rows if s.ratio is None]:
        yield Sentence("", f"{title} has {listed(alone)}, and nothing to compare with.")


def _by_cell(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """Of each cell the designs that differ and those of which that could not be told, the best of each first."""
    for cell in run.cells:
        here = [s for s in rows if s.cell == cell.name]
        baseline = next((s for s in here if s.verdict == "baseline"), None)
        if baseline is None:
            yield from [Sentence("", f"With {cell.name}: {_alone(run, here).text}")] if here else []
            continue
        others = sorted((s for s in here if s is not baseline and s.ratio is not None), key=_best_first)
        told: list[tuple[Verdict, list[str]]] = [
            (kind, [f"{run.arm_title(s.design)} {value(s)} ({percent(s.ratio)})" for s in others if s.verdict == kind])
            for kind in ("faster", "slower")
        ]
        unresolved = [s for s in others if s.verdict == "not resolved" and s.design != AA]
        told.append(("not resolved", [f"{run.arm_title(s.design)} {value(s)} ({_room(s)})" for s in unresolved]))
        if not any(designs for _, designs in told):
            continue
        yield Sentence("baseline", f"With {cell.name}, where {run.arm_title(baseline.design)} has {value(baseline)}:")
        yield from (Sentence(kind, f"{kind}: {listed(designs)}.") for kind, designs in told if designs)


def _best_first(s: Summary) -> float:
    return -s.median if metrics.known(s.metric).better == "higher" else s.median


def _range(s: Summary) -> str:
    return f"{percent(s.ratio_low)} to {percent(s.ratio_high)}"


def lost(run: Run) -> Iterator[str]:
    """Which designs failed, a line each, with the first of what failed."""
    for design in run.lost_designs():
        if design.state not in NOT_TO_BE_HAD:
            what = "failed" if design.state == "failed" else f"is {design.state}"
            why = "; ".join([part for part in (design.reason, *design.failures[:1]) if part])
            yield f"{design.name} {what}: {why}." if why else f"{design.name} {what}."


def left_out(run: Run) -> Iterator[str]:
    """Which designs could not be had, or not in some cells, a line for each reason."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for design in run.designs:
        if design.state in NOT_TO_BE_HAD:
            gathered.setdefault(("", _impersonal(design, design.reason)), []).append(design.name)
        elif design.usable:
            for reason in dict.fromkeys(design.left_out.values()):
                cells = listed([cell for cell, own in design.left_out.items() if own == reason])
                gathered.setdefault((cells, _impersonal(design, reason)), []).append(design.name)
    for (cells, reason), names in gathered.items():
        where = f" with {cells}" if cells else ""
        were = "were" if len(names) > 1 else "was"
        yield f"{listed(names)} {were} left out{where}: {reason or 'no reason recorded'}."


def _impersonal(design: Design, reason: str) -> str:
    """A reason without the design's own name, so that designs can share it."""
    return reason.replace(f"{design.name} needs", "needs")


def failures(run: Run) -> Iterator[str]:
    """What gave no number, a line each reason."""
    for failure in run.failures:
        which = ", ".join((*failure.designs, *failure.paths, *failure.probes))
        many = "samples have" if failure.samples > 1 else "sample has"
        yield f"{failure.samples} {many} no number ({which}): {failure.reason}."


def state(run: Run) -> str:
    """How far the run got, where that is not as far as planned; else empty."""
    if run.is_whole():
        return ""
    how = {"interrupted": "was interrupted", "failed": "failed", "running": "had not ended"}.get(run.state, "ended")
    why = f" ({run.reason})" if run.reason else ""
    planned = f" of {run.rounds_planned}" if run.rounds_planned else ""
    return f"The run {how}{why}: {run.rounds}{planned} rounds have samples that count."


def doubts(run: Run) -> Iterator[str]:
    """What casts doubt on samples that have a value, a line each."""
    for doubt in run.doubts:
        yield f"{doubt.trials} of {doubt.of} measurements are flagged '{doubt.flag}': {doubt.meaning}."


def limits(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    """Which values are close to what their probe can do at best, a line each metric."""
    for (probe, metric), limit in run.limits.items():
        better = metrics.known(metric).better
        near = [
            s
            for s in summaries
            if (s.probe, metrics.known(s.metric).name) == (probe, metric)
            and limit > 0
            and (
                (better == "higher" and s.median >= NEAR_LIMIT * limit)
                or (better == "lower" and s.median <= limit / NEAR_LIMIT)
            )
        ]
        if near and better and metrics.known(metric).main:
            where = listed(list(dict.fromkeys(f"{s.design} {s.path}" for s in near)))
            yield (
                f"{metrics.known(metric).title} of {where} is close to what {probe} itself reaches over loopback "
                f"({number(limit)} {unit(near[0].unit)}): the probe, and not the design, may be what limits it."
            )


def kind(summaries: Sequence[Summary]) -> str:
    """What the intervals of a run are."""
    few = all(statistics.coverage(s.rounds) < statistics.CONFIDENCE for s in summaries)
    return "smallest to largest round" if few else "95% interval"


def intervals(summaries: Sequence[Summary]) -> str:
    """What the intervals of a run are, and how sure."""
    rounds = sorted({s.rounds for s in summaries if s.rounds > 1})
    if not rounds:
        return "One round gives no interval." if summaries else ""
    text = "Intervals are of 95%, by bootstrap over rounds, widened for few rounds (Hesterberg 2015)"
    few = [n for n in rounds if statistics.coverage(n) < statistics.CONFIDENCE]
    if not few:
        return f"{text}."
    sure = listed([f"{100 * statistics.coverage(n):.4g}% for {n}" for n in few])
    return f"{text}; with so few they run from the smallest to the largest, and hold the median with {sure}."


def method(run: Run, summaries: Sequence[Summary]) -> str:
    """How many comparisons were made, and what was done against being fooled by their number."""
    made = statistics.comparisons(summaries)
    if not made:
        return ""
    looks = (
        f" The verdicts were looked at {len(run.looks)} times (after {listed([str(n) for n in run.looks])} rounds), "
        "and share the 5% between them."
        if run.looks
        else ""
    )
    return (
        f"{made} comparisons were made; by Holm's correction the probability of even one false verdict among all of "
        f"them is at most 5%.{looks}"
    )
