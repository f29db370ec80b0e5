"""Comparisons beyond a condition's threshold, and whether each breach is certain."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.report import metrics
from testbed.report.compare import Comparison
from testbed.report.condition import Condition, ConditionError, Words, metric_names, parse
from testbed.report.statistics import RESOLVED

Held = Literal["kept", "not resolved", "breached"]


@dataclass(frozen=True)
class Outcome:
    """The result of a condition."""

    condition: Condition
    text: str
    """As the user wrote it."""
    compared: int
    """Number of comparisons that it applies to."""
    breached: tuple[Comparison, ...]
    """The verdict is faster or slower, and the whole interval is beyond the threshold."""
    not_resolved: tuple[Comparison, ...]
    """The ratio is beyond the threshold, but not the whole interval, or the verdict is not resolved."""

    @property
    def state(self) -> Held:
        return "breached" if self.breached else "not resolved" if self.not_resolved else "kept"


def words_of(comparisons: Sequence[Comparison]) -> Words:
    """The names that are valid in conditions on these comparisons."""
    directed = [c for c in comparisons if _is_directed(c)]
    names = {c.metric: metric_names(c.metric, c.probe) for c in comparisons}
    judged = {c.metric for c in directed}
    own = {name for metric in judged for name in names[metric]}
    return Words(
        cells=_each(word for c in directed for word in c.cell.split()),
        designs=_each(c.design for c in directed),
        paths=_each(c.path for c in directed),
        metrics=_each(c.metric for c in directed),
        aliases=_each(name for metric in names if metric in judged for name in names[metric] if name not in judged),
        without_verdict=_each(
            name for metric in names if metric not in judged for name in names[metric] if name not in own
        ),
    )


def judge(text: str, comparisons: Sequence[Comparison]) -> Outcome:
    """Evaluate a condition. Raises ConditionError if it is invalid or applies to no comparison."""
    words = words_of(comparisons)
    condition = parse(text, words)
    about = [c for c in comparisons if _is_directed(c) and _selected(condition, c)]
    if not about:
        raise ConditionError(
            "\n  ".join(("no comparison matches all of these names; compared:", *_compared(comparisons)))
        )
    beyond = [c for c in about if c.ratio is not None and condition.covers(c.ratio)]
    sure = [c for c in beyond if _is_sure(condition, c)]
    return Outcome(condition, text, len(about), tuple(sure), tuple(c for c in beyond if c not in sure))


def _compared(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Metrics with a direction, by design, path and cell."""
    found: dict[str, list[str]] = {}
    for c in filter(_is_directed, comparisons):
        found.setdefault(" ".join(filter(None, (c.design, c.path, c.cell))), []).append(c.metric)
    return (f"{where}: {', '.join(named)}" for where, named in found.items())


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _selected(condition: Condition, c: Comparison) -> bool:
    return condition.selects(c.cell, c.design, c.path, metric_names(c.metric, c.probe))


def _is_directed(c: Comparison) -> bool:
    return metrics.known(c.metric).better is not None


def _is_sure(condition: Condition, c: Comparison) -> bool:
    ends = (c.ratio_low, c.ratio_high)
    return c.verdict in RESOLVED and all(end is not None and condition.covers(end) for end in ends)
