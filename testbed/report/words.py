"""Numbers and verdicts as words: what the terminal, Markdown and HTML say alike.

`Not resolved` never becomes `equal`: the words say what the run could not tell, and how large a difference it
leaves room for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.report import metrics
from testbed.report.run import Design, Path, Run
from testbed.report.statistics import (
    CONFIDENCE,
    MIN_ROUNDS_FOR_VERDICT,
    Summary,
    Verdict,
    coverage,
    false_verdicts,
)

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def _places(value: float) -> int:
    size = abs(value)
    return 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3


def number(value: float | None) -> str:
    """About three significant digits, as a reader takes them in."""
    return NOTHING if value is None else f"{value:,.{_places(value)}f}"


def ratio(value: float | None) -> str:
    """A thousandth matters near 1, and nothing so small does far from it."""
    return NOTHING if value is None else f"{value:.3f}" if value < 10 else number(value)


def span(low: float | None, high: float | None) -> str:
    """An interval; its ends with equally many places."""
    if low is None or high is None:
        return NOTHING
    places = _places(high)
    return f"{low:,.{places}f}..{high:,.{places}f}"


def ratio_span(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else f"{ratio(low)}..{ratio(high)}"


def unit(name: str) -> str:
    return "µs" if name == "us" else name


def value(s: Summary) -> str:
    return f"{number(s.median)}\N{NO-BREAK SPACE}{unit(s.unit)}"


def percent(value: float | None) -> str:
    """A ratio as a difference: 0.9 is `-10.0%`."""
    if value is None:
        return NOTHING
    return f"{(value - 1) * 100:+.1f}%".replace("-", MINUS)


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
    for path in run.paths:
        here = [s for s in summaries if s.path == path.name and metrics.known(s.metric).main]
        for metric in dict.fromkeys(s.metric for s in here):
            rows = [s for s in here if s.metric == metric]
            found.append(Answer(path, metrics.title(metric), tuple(_sentences(run, rows))))
    return tuple(found)


def _sentences(run: Run, rows: Sequence[Summary]) -> list[Sentence]:
    baseline = next((s for s in rows if s.verdict == "baseline"), None)
    others = [s for s in rows if s is not baseline]
    if baseline is None:
        values = listed([f"{s.design} {value(s)}" for s in rows])
        lost = f"the baseline {run.baseline} has no value" if run.baseline else "no baseline is known"
        return [Sentence("", f"Nothing to compare with, as {lost}: {values}.")]
    if not others:
        return [Sentence("baseline", f"{baseline.design} alone has values: {value(baseline)}.")]
    return [
        *(_resolved(s, baseline) for s in others if s.verdict in ("faster", "slower")),
        *_unresolved([s for s in others if s.verdict == "not resolved"], baseline),
    ]


def _resolved(s: Summary, baseline: Summary) -> Sentence:
    text = (
        f"{s.design} is {s.verdict} than {baseline.design}: {percent(s.ratio)} ({_range(s)}), "
        f"{number(s.median)} against {value(baseline)}."
    )
    return Sentence(s.verdict, text)


def _unresolved(rows: Sequence[Summary], baseline: Summary) -> Iterator[Sentence]:
    """Says why, and which differences the run leaves room for."""
    few = [f"{s.design} ({s.pairs} of {MIN_ROUNDS_FOR_VERDICT})" for s in rows if s.pairs < MIN_ROUNDS_FOR_VERDICT]
    if few:
        yield Sentence("not resolved", f"Too few rounds for a verdict: {listed(few)}.")
    wide = [f"{s.design} ({_range(s)})" for s in rows if s.pairs >= MIN_ROUNDS_FOR_VERDICT]
    if wide:
        yield Sentence("not resolved", f"Not resolved against {baseline.design}: {listed(wide)}.")


def _range(s: Summary) -> str:
    return f"{percent(s.ratio_low)} to {percent(s.ratio_high)}"


def lost(design: Design) -> str:
    """What became of a design that was not measured, and the first of its failures."""
    what = "failed" if design.state == "failed" else f"is {design.state}"
    why = "; ".join([part for part in (design.reason, *design.failures[:1]) if part])
    return f"{what}: {why}." if why else f"{what}."


def state(run: Run) -> str:
    """How far the run got, where that is not as far as planned; else empty."""
    if run.is_whole():
        return ""
    how = {"interrupted": "was interrupted", "failed": "failed", "running": "had not ended"}.get(run.state, "ended")
    why = f" ({run.reason})" if run.reason else ""
    return f"The run {how}{why}: {run.rounds} of {run.rounds_planned} rounds have samples that count."


def kind(summaries: Sequence[Summary]) -> str:
    """What the intervals of a run are."""
    if all(coverage(s.rounds) < CONFIDENCE for s in summaries):
        return "smallest to largest round"
    return "interval of at least 95%"


def intervals(summaries: Sequence[Summary]) -> str:
    """What the intervals of a run are, with their true coverage."""
    rounds = sorted({s.rounds for s in summaries if s.rounds > 1})
    if not rounds:
        return "One round gives no interval." if summaries else ""
    sure = listed([f"{100 * coverage(n):.4g}% ({n} rounds)" for n in rounds])
    few = coverage(rounds[-1]) < CONFIDENCE
    what = "is the smallest and the largest round" if few else "ends at the rounds' narrowest ranks that reach 95%"
    return f"An interval {what}; it holds the true median with a probability of {sure}."


def chance(summaries: Sequence[Summary]) -> str:
    """How many verdicts chance alone would give."""
    compared, expected = false_verdicts(summaries)
    if not expected:
        return ""
    return (
        f"{compared} comparisons are shown; were all designs truly equal, about {expected:.1f} of them would "
        "still come out faster or slower by chance. A lone, small verdict deserves a longer run."
    )
