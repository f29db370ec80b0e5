"""Numbers and verdicts as text, shared by terminal, Markdown and HTML.

`Not resolved` is never written as `equal`: the text names the smallest difference that the run could detect.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from testbed.report import metrics, statistics
from testbed.report.run import Design, Path, Run
from testbed.report.statistics import MIN_ROUNDS_FOR_VERDICT, Summary, Verdict
from testbed.spec.scenario import AA

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
OWN_NOISE = "machine's own noise"
"""The A/A arm, in words."""
OWN_NOISE_SHORT = "machine's noise"
"""In narrow columns."""
MANY_DOUBTS = 0.1
"""From this fraction of flagged measurements on, a report begins with their number."""
OTHER_MARK = "*"
"""After a verdict that is not a headline's."""
LARGEST_NAMED = 1.0
"""A smallest detectable effect from here on (a factor of two) is not printed."""
MANY = 10_000
LEFT_OUT_STATES = ("unavailable", "unfit")
"""States without a failure: the machine lacks what the design needs, or the design does not fit the topology."""
FEW_DESIGNS = 5
"""A sweep with at most this many designs, or at most as many as cells, is described by design; otherwise by cell."""
COUNTS = (
    "Instructions are those of the kernel and of programs on the path, without those of the programs at its ends. They "
    "are path length, not speed: no caches, no memory stalls, no parallel work; the CPU computes crypto and checksums, "
    "and a vector instruction counts as one."
)
"""What counted instructions are not."""
NEAR_LIMIT = 0.9
"""A value beyond this fraction of the probe's loopback result is reported as close to the probe's own limit."""


def _places(value: float) -> int:
    size = abs(value)
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3


def number(value: float | None) -> str:
    """About three significant digits; `35.0k` for 35,000, because columns are narrow."""
    return NOTHING if value is None else _number(value, _thousands(value))


def _thousands(value: float) -> int:
    """The power of 1000 that a value is shown in: 0, 1 (`k`, from 10,000) or 2 (`M`)."""
    return 0 if abs(value) < MANY else 1 if abs(value) < 999_500 else 2


def _number(value: float, thousands: int, places: int | None = None) -> str:
    value /= 1000**thousands
    return f"{value:,.{_places(value) if places is None else places}f}{('', 'k', 'M')[thousands]}"


def ratio(value: float | None) -> str:
    """A ratio: three decimals below 10, else as `number`."""
    return NOTHING if value is None else f"{value:.3f}" if value < 10 else number(value)


def span(low: float | None, high: float | None) -> str:
    """An interval; both ends have the same number of decimals."""
    if low is None or high is None:
        return NOTHING
    thousands = _thousands(high)
    places = _places(high / 1000**thousands)
    return f"{_number(low, thousands, places)}..{_number(high, thousands, places)}"


def ratio_span(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{ratio(low)}..{ratio(high)}"


def unit(name: str) -> str:
    return {"us": "µs", "instructions": "instr."}.get(name, name)


def value(s: Summary, *others: Summary) -> str:
    """The value with its unit; several values are joined by `against` and use the unit of the first."""
    name, per = ("ms", 1000) if s.unit == "us" and s.median >= MANY else (unit(s.unit), 1)
    return f"{' against '.join(number(one.median / per) for one in (s, *others))}\N{NO-BREAK SPACE}{name}"


def percent(value: float | None) -> str:
    """A ratio as a difference in percent: 0.9 is `-10.0%`."""
    if value is None:
        return NOTHING
    difference = round((value - 1) * 100, 1)
    return f"{difference:+.1f}%".replace("-", MINUS) if difference else "0.0%"


def rounded_percent(value: float | None) -> str:
    """A ratio as a difference in percent: without decimals from 10%, as a factor from 10 on."""
    if value is None or abs(value - 1) < 0.0995:
        return percent(value)
    return (
        f"{number(value)}\N{MULTIPLICATION SIGN}" if value >= 10 else f"{(value - 1) * 100:+.0f}%".replace("-", MINUS)
    )


def size(effect: float) -> str:
    """The size of an effect in percent, for `under N%`; with one decimal below 10%."""
    return f"{effect * 100:.1f}%" if effect < 0.0995 else f"{effect * 100:.0f}%"


def verdict(s: Summary) -> str:
    """The verdict; `not resolved` is followed by the smallest detectable effect."""
    if s.verdict == "not resolved" and s.ratio is None:
        return "no baseline"
    if s.verdict == "not resolved" and s.pairs < MIN_ROUNDS_FOR_VERDICT:
        return "too few rounds"
    if s.verdict == "not resolved" and s.smallest is not None and s.smallest < LARGEST_NAMED:
        return f"{s.verdict} <{size(s.smallest)}"
    return s.verdict + (OTHER_MARK if s.family == "other" and s.verdict in ("faster", "slower") else "")


def listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


@dataclass(frozen=True)
class Sentence:
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Answer:
    """The result of one metric on one path, in sentences."""

    path: Path
    title: str
    sentences: tuple[Sentence, ...]


def answers(run: Run, summaries: Sequence[Summary]) -> tuple[Answer, ...]:
    """An answer for each path and main metric, in the order of the summaries."""
    found = []
    few = len(run.arms) <= max(len(run.cells), FEW_DESIGNS)
    for path in run.paths:
        here = [s for s in summaries if s.path == path.name and metrics.known(s.metric).main]
        for metric in dict.fromkeys(s.metric for s in here):
            rows = [s for s in here if s.metric == metric]
            said = _sentences(run, rows) if not run.cells else _by_design(run, rows) if few else _by_cell(run, rows)
            found.append(Answer(path, metrics.title(metric), tuple(said)))
    return tuple(found)


def _sentences(run: Run, rows: Sequence[Summary]) -> list[Sentence]:
    baseline = next((s for s in rows if s.verdict == "baseline"), None)
    others = [s for s in rows if s is not baseline and s.design != AA]
    if baseline is None:
        return [_alone(run, rows)]
    only = [Sentence("baseline", f"Only {baseline.design} has values: {value(baseline)}.")] if not others else []
    return [
        *only,
        *(_resolved(s, baseline) for s in others if s.verdict in ("faster", "slower")),
        *_unresolved([s for s in others if s.verdict == "not resolved"], baseline),
        *_against_itself(run, [s for s in rows if s.design == AA and s.ratio is not None]),
    ]


def _alone(run: Run, rows: Sequence[Summary]) -> Sentence:
    values = listed([f"{run.arm_title(s.design)} {value(s)}" for s in rows])
    why = f"the baseline {run.baseline} has no value" if run.baseline else "the baseline is unknown"
    return Sentence("", f"Not compared, because {why}: {values}.")


def _resolved(s: Summary, baseline: Summary) -> Sentence:
    text = f"{s.design} is {s.verdict} than {baseline.design}: {percent(s.ratio)} ({_range(s)}), {value(s, baseline)}."
    return Sentence(s.verdict, text)


def _unresolved(rows: Sequence[Summary], baseline: Summary) -> Iterator[Sentence]:
    """The reason, and the smallest detectable difference."""
    few = [f"{s.design} ({s.pairs} of {MIN_ROUNDS_FOR_VERDICT})" for s in rows if s.pairs < MIN_ROUNDS_FOR_VERDICT]
    if few:
        yield Sentence("not resolved", f"Too few rounds for a verdict: {listed(few)}.")
    wide = [f"{s.design} ({_detectable(s)})" for s in rows if s.pairs >= MIN_ROUNDS_FOR_VERDICT]
    if wide:
        yield Sentence("not resolved", f"Not resolved against {baseline.design}: {listed(wide)}.")


def _detectable(s: Summary) -> str:
    if s.pairs < 2:
        return percent(s.ratio)
    under = f"under {size(s.smallest)}; " if s.smallest is not None and s.smallest < LARGEST_NAMED else ""
    return f"{under}{_range(s)}"


def _against_itself(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """The result of the A/A arm."""
    for s in rows:
        if s.verdict in ("faster", "slower"):
            itself = f"{run.baseline} is {s.verdict} than itself ({_range(s)}); smaller differences are noise."
            text = f"The {OWN_NOISE}: {itself}"
            yield Sentence(s.verdict, text)
        else:
            span = f" ({_range(s)})" if s.pairs > 1 else ""
            yield Sentence("not resolved", f"The {OWN_NOISE}: {percent(s.ratio)}{span}.")


def _by_design(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """One sentence per design and verdict, with the cells that have it."""
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
    if compared := [f"{s.cell} ({_detectable(s)})" for s in rows if s.ratio is not None]:
        yield Sentence("not resolved", f"{title} is not resolved at {listed(compared)}.")
    if alone := [f"{value(s)} at {s.cell}" for s in rows if s.ratio is None]:
        yield Sentence("", f"{title} has {listed(alone)}, not compared.")


def _by_cell(run: Run, rows: Sequence[Summary]) -> Iterator[Sentence]:
    """For each cell, the faster, slower and not resolved designs, the best of each first."""
    for cell in run.cells:
        here = [s for s in rows if s.cell == cell.name]
        baseline = next((s for s in here if s.verdict == "baseline"), None)
        if baseline is None:
            yield from [Sentence("", f"With {cell.name}: {_alone(run, here).text}")] if here else []
            continue
        others = sorted((s for s in here if s is not baseline and s.ratio is not None), key=_best_first)
        by_verdict: list[tuple[Verdict, list[str]]] = [
            (kind, [f"{run.arm_title(s.design)} {value(s)} ({percent(s.ratio)})" for s in others if s.verdict == kind])
            for kind in ("faster", "slower")
        ]
        unresolved = [s for s in others if s.verdict == "not resolved" and s.design != AA]
        by_verdict.append(
            ("not resolved", [f"{run.arm_title(s.design)} {value(s)} ({_detectable(s)})" for s in unresolved])
        )
        if not any(designs for _, designs in by_verdict):
            continue
        yield Sentence("baseline", f"With {cell.name} ({run.arm_title(baseline.design)}: {value(baseline)}):")
        yield from (Sentence(kind, f"{kind}: {listed(designs)}.") for kind, designs in by_verdict if designs)


def _best_first(s: Summary) -> float:
    return -s.median if metrics.known(s.metric).better == "higher" else s.median


def _range(s: Summary) -> str:
    return f"{percent(s.ratio_low)} to {percent(s.ratio_high)}"


def lost(run: Run) -> Iterator[str]:
    """One line for each design that failed, with its reason and first failure."""
    for design in run.lost_designs():
        if design.state not in LEFT_OUT_STATES:
            what = "failed" if design.state == "failed" else f"is {design.state}"
            why = "; ".join([part for part in (design.reason, *design.failures[:1]) if part])
            yield f"{design.name} {what}: {why}." if why else f"{design.name} {what}."


def left_out(run: Run) -> Iterator[str]:
    """One line for each reason why designs are unavailable, everywhere or in some cells."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for design in run.designs:
        if design.state in LEFT_OUT_STATES:
            gathered.setdefault(("", _impersonal(design, design.reason)), []).append(design.name)
        elif design.usable:
            for reason in dict.fromkeys(design.left_out.values()):
                cells = listed([cell for cell, own in design.left_out.items() if own == reason])
                gathered.setdefault((cells, _impersonal(design, reason)), []).append(design.name)
    for (cells, reason), names in gathered.items():
        where = f" with {cells}" if cells else ""
        were = "were" if len(names) > 1 else "was"
        yield f"{listed(names)} {were} left out{where}: {reason or 'no reason recorded'}."


def events(run: Run) -> Iterator[str]:
    """The lines with which a report begins: what a reader has to know before the numbers."""
    yield from doubts(run, many=True)
    nowhere = [design.name for design in run.designs if design.state in LEFT_OUT_STATES]
    partly = [design.name for design in run.designs if design.usable and design.left_out]
    parts = ([f"{listed(nowhere)}"] if nowhere else []) + ([f"in some cells {listed(partly)}"] if partly else [])
    if parts:
        yield f"Not measured: {'; '.join(parts)}. The reasons are below the tables."


def _impersonal(design: Design, reason: str) -> str:
    """A reason without the design's name, so that designs with the same reason share a line."""
    return reason.replace(f"{design.name} needs", "needs")


def failures(run: Run) -> Iterator[str]:
    """One line for each reason why samples have no value."""
    for failure in run.failures:
        which = ", ".join((*failure.designs, *failure.paths, *failure.probes))
        many = "samples have" if failure.samples > 1 else "sample has"
        yield f"{failure.samples} {many} no value ({which}): {failure.reason}."


def state(run: Run) -> str:
    """How far an incomplete run got; empty for a complete one."""
    if run.is_whole():
        return ""
    how = {"interrupted": "was interrupted", "failed": "failed", "running": "has not ended"}.get(run.state, "ended")
    why = f" ({run.reason})" if run.reason else ""
    planned = f" of {run.rounds_planned}" if run.rounds_planned else ""
    return f"The run {how}{why}: {run.rounds}{planned} rounds have counted samples."


def doubts(run: Run, many: bool = False) -> Iterator[str]:
    """One line for each flag on samples that have a value; of `many` samples, or of few."""
    for doubt in run.doubts:
        if (doubt.trials >= MANY_DOUBTS * doubt.of) != many:
            continue
        yield f"{doubt.trials} of {doubt.of} measurements are flagged '{doubt.flag}': {doubt.meaning}."


def limits(run: Run, summaries: Sequence[Summary]) -> Iterator[str]:
    """One line for each metric with values close to the probe's own limit."""
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
                f"{metrics.known(metric).title} of {where} is close to the loopback limit of probe '{probe}' "
                f"({number(limit)} {unit(near[0].unit)}): the probe may be the bottleneck, not the design."
            )


def counts() -> str:
    """How to read counts."""
    return (
        "Counts need no statistics: an interval is from the smaller to the larger of two rounds, and values that "
        f"differ by less than {metrics.EQUAL:.1%} are equal. {COUNTS}"
    )


def kind(summaries: Sequence[Summary]) -> str:
    """The kind of a run's intervals."""
    few = all(statistics.coverage(s.rounds) < statistics.CONFIDENCE for s in summaries)
    return "smallest to largest round" if few else "95% interval"


def intervals(summaries: Sequence[Summary]) -> str:
    """The kind of a run's intervals, and their confidence."""
    if summaries and all(metrics.known(s.metric).exact for s in summaries):
        return counts()
    rounds = sorted({s.rounds for s in summaries if s.rounds > 1})
    if not rounds:
        return "One round gives no interval." if summaries else ""
    text = "95% bootstrap intervals over rounds, widened for few rounds (Hesterberg 2015)"
    few = [n for n in rounds if statistics.coverage(n) < statistics.CONFIDENCE]
    if not few:
        return f"{text}."
    sure = listed([f"{100 * statistics.coverage(n):.4g}% for {n} rounds" for n in few])
    return f"{text}; with few rounds, from the smallest to the largest value, with a confidence of {sure}."


def method(run: Run, summaries: Sequence[Summary]) -> str:
    """The number of comparisons, and the correction for it."""
    made = statistics.comparisons(summaries)
    if not made:
        return ""
    looks = (
        f" Verdicts were computed {len(run.looks)} times (after {listed([str(n) for n in run.looks])} rounds); "
        "the 5% covers all of them."
        if len(run.looks) > 1
        else ""
    )
    return " ".join(families(summaries)) + looks


class Tested(Protocol):
    """A comparison within a run, or of two runs."""

    @property
    def metric(self) -> str: ...
    @property
    def family(self) -> str: ...


def families(comparisons: Sequence[Tested]) -> Iterator[str]:
    """How sure the verdicts of each family are."""
    headline, other = ([c for c in comparisons if c.family == family] for family in ("headline", "other"))
    if headline:
        titles = listed(list(dict.fromkeys(metrics.title(s.metric) for s in headline)))
        yield (
            f"{len(headline)} headline comparisons ({titles}): the probability of one or more false verdicts is at "
            "most 5% (Holm)."
        )
    if other:
        yield (
            f"{len(other)} other comparisons, with verdicts marked {OTHER_MARK}: at most 5% of these verdicts are "
            "false on average (Benjamini-Hochberg)."
        )
