"""Conditions on a comparison, such as `vxlan cross-node throughput < 0.9`. A ratio beyond the threshold is a breach.

    [CELL...] [DESIGN] [PATH] [METRIC] OPERATOR RATIO

DESIGN, PATH and METRIC may be in any order; `any` or an omitted word matches all. CELL is a setting of a sweep, such as
`mtu=9000`. The operator is one of < <= > >=. The ratio is NEW over OLD, written 0.9 or 90%.

Valid names of designs, paths and metrics are those of the comparison; other words are errors. All functions are pure.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import permutations

from testbed.spec.nearest import nearest

ANY = "any"
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXAMPLE = "cross-node throughput < 0.9"

_WHOLE = re.compile(r"([^<>]*)(<=|>=|<|>)(.*)", re.DOTALL)
_RATIO = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)|([0-9]{1,6}(?:\.[0-9]{1,7})?) ?%")
_SLOTS = ("design", "path", "metric")


class ConditionError(Exception):
    """A text is not a valid condition on this comparison. The message names the mistake and the valid words."""


@dataclass(frozen=True)
class Words:
    """The names that are valid in a condition."""

    cells: tuple[str, ...]
    """Settings of a sweep, such as `mtu=9000`."""
    designs: tuple[str, ...]
    paths: tuple[str, ...]
    metrics: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    """Other names of these metrics; see `metric_names`."""
    without_verdict: tuple[str, ...] = ()
    """Compared metrics without a direction; they get no verdict."""

    def of(self, slot: str) -> tuple[str, ...]:
        return {"design": self.designs, "path": self.paths, "metric": self.metrics + self.aliases}[slot]


@dataclass(frozen=True)
class Condition:
    """A condition for a breach. `parse` reads back `str(condition)`."""

    cell: tuple[str, ...]
    """Settings of a sweep, sorted; all of them must hold."""
    design: str
    path: str
    metric: str
    operator: str
    threshold: Decimal
    """NEW over OLD."""

    def __str__(self) -> str:
        return " ".join((*self.cell, self.design, self.path, self.metric, self.operator, f"{self.threshold:f}"))

    def selects(self, cell: str, design: str, path: str, metrics: Iterable[str]) -> bool:
        """Whether it applies to a comparison; `metrics` are all names of the comparison's metric."""
        return (
            set(self.cell) <= set(cell.split())
            and self.design in (ANY, design)
            and self.path in (ANY, path)
            and (self.metric == ANY or self.metric in metrics)
        )

    def covers(self, ratio: float) -> bool:
        """Whether a ratio is beyond the threshold."""
        return OPERATORS[self.operator](ratio, float(self.threshold))


def metric_names(metric: str, probe: str) -> tuple[str, ...]:
    """All names of a metric: with and without its probe and its `@` part."""
    name = metric.rpartition("/")[2]
    bare = name.partition("@")[0]
    return tuple(dict.fromkeys((metric, name, bare, f"{probe}/{name}", f"{probe}/{bare}")))


def parse(text: str, words: Words) -> Condition:
    """Parse a condition. Raises ConditionError if the text is not valid."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        raise ConditionError(f"operator missing, one of {' '.join(OPERATORS)}; {_example()}")
    threshold = _ratio(whole[3].strip())
    named = whole[1].split()
    cell = tuple(sorted({word for word in named if "=" in word}))
    for setting in cell:
        if setting not in words.cells:
            raise ConditionError(_unknown("sweep setting", setting, words.cells))
    design, path, metric = _placed([word for word in named if "=" not in word], words)
    return Condition(cell, design, path, metric, whole[2], threshold)


def _example() -> str:
    return f"example: '{EXAMPLE}'"


def _ratio(text: str) -> Decimal:
    number = _RATIO.fullmatch(text)
    if number is None:
        found = f"'{text}' is not a ratio" if text else "ratio missing after the operator"
        raise ConditionError(f"{found}; write NEW over OLD as 0.9 or 90%")
    ratio = Decimal(number[1]) if number[1] else Decimal(number[2]) / 100
    if not ratio:
        raise ConditionError("the ratio must not be 0; write NEW over OLD as 0.9 or 90%")
    return ratio


def _placed(named: Sequence[str], words: Words) -> tuple[str, ...]:
    """Design, path and metric of the words, in any order; if ambiguous, the order DESIGN PATH METRIC decides."""
    _refuse_unknown(named, words)
    in_order: set[tuple[str, ...]] = set()
    others: set[tuple[str, ...]] = set()
    for slots in permutations(_SLOTS, len(named)) if len(named) <= len(_SLOTS) else ():
        if all(word == ANY or word in words.of(slot) for word, slot in zip(named, slots, strict=True)):
            taken = dict(zip(slots, named, strict=True))
            found = tuple(taken.get(slot, ANY) for slot in _SLOTS)
            (in_order if sorted(slots, key=_SLOTS.index) == list(slots) else others).add(found)
    candidates = in_order or others
    if len(candidates) == 1:
        return candidates.pop()
    if candidates:
        meant = " or ".join(f"'{' '.join(found)}'" for found in sorted(candidates))
        raise ConditionError(f"ambiguous: a name is in use for more than one of design, path and metric; write {meant}")
    raise ConditionError(f"more than one design, path or metric: {' '.join(named)}; write a condition for each")


def _refuse_unknown(named: Sequence[str], words: Words) -> None:
    known = (*words.designs, *words.paths, *words.metrics, *words.aliases)
    for word in named:
        if word in words.without_verdict:
            raise ConditionError(
                f"'{word}' is informational: it has no direction, so no verdict and no breach; "
                f"metrics: {', '.join(words.metrics)}"
            )
        if word != ANY and word not in known:
            raise ConditionError("\n  ".join((_unknown("design, path or metric", word, known, ""), *_valid(words))))


def _valid(words: Words) -> Iterator[str]:
    yield f"designs: {', '.join(words.designs)}"
    yield f"paths: {', '.join(words.paths)}"
    yield f"metrics: {', '.join(words.metrics)}"
    if words.cells:
        yield f"settings: {', '.join(words.cells)}"
    yield _example()


def _unknown(what: str, found: str, valid: tuple[str, ...], listing: str | None = None) -> str:
    near = nearest(found, valid)
    meant = f"; did you mean '{near}'?" if near else ""
    listed = listing if listing is not None else f"; valid: {', '.join(valid) or 'none, because nothing was swept'}"
    return f"unknown {what} '{found}'{meant}{listed}"
