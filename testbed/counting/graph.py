"""From the tracer's output to instructions by function, without the tracer's own cost.

The tracer adds a cost to each call, a part of it within the time of the called function, the rest within its caller's:

    caller   |---- own ----|-- rest --|                             |---- own ----|
    function                          |- own -|- within its time -|

The part within is the shortest time of any function that calls no other. The whole follows from the path's count, which
is known without the tracer.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from testbed.counting.layers import OTHER, layer_of

_LINE = re.compile(r"\s*.+-(\d+)\s+\|\s+(?:([\d.]+) us)?\s*\|\s*(.*)")
_NAME = re.compile(r"[\w.$]+")
_INTERRUPT = re.compile(r"irq_enter_rcu|irq_exit_rcu|__?sysvec_|__common_interrupt|common_interrupt")
"""Where an interrupt begins, which no function called."""
LEAST = 5
"""Instructions of a function that only returns."""
CONVERGED = 5
"""Steps after which the tracer's cost changes no more."""
NS = 1000
"""Instructions a microsecond."""


@dataclass
class Calls:
    """All calls of a function by the same stack of callers."""

    raw: list[float] = field(default_factory=list)
    """For each call: the instructions in it without those in functions that it called, with the tracer's."""
    called: list[int] = field(default_factory=list)
    """For each call: the number of calls that it made."""

    def own(self, within: float, rest: float) -> float:
        """The instructions of all calls without the tracer's. The median call counts: interrupts disturb a few."""
        return median(self._each(within, rest)) * len(self.raw)

    def disturbance(self, within: float, rest: float) -> float:
        """The instructions that interrupts, and other rare events, added to calls."""
        return sum(self._each(within, rest)) - self.own(within, rest)

    def _each(self, within: float, rest: float) -> list[float]:
        return [raw - within - rest * called for raw, called in zip(self.raw, self.called, strict=True)]


@dataclass
class _Open:
    """A function that has not returned."""

    stack: tuple[str, ...]
    within: float = 0.0
    called: int = 0


@dataclass
class Traced:
    """What the tracer saw."""

    by_stack: dict[tuple[str, ...], Calls] = field(default_factory=dict)
    interrupts: float = 0.0
    """Instructions of interrupts, with the tracer's. The usual round trip has none."""
    least: float = float("inf")
    """The shortest call of a function that calls no other, in instructions."""

    @property
    def calls(self) -> int:
        return sum(len(one.raw) for one in self.by_stack.values())


def parsed(lines: Iterable[str]) -> Traced:
    """The calls in the output of the function graph tracer, each task with a stack of its own."""
    found = Traced()
    tasks: dict[str, list[_Open]] = {}
    for line in lines:
        match = _LINE.fullmatch(line.rstrip())
        if not match:
            continue
        task, took, text = match.groups()
        open_calls = tasks.setdefault(task, [])
        if text.endswith("{"):
            open_calls.append(_Open((*(open_calls[-1].stack if open_calls else ()), _name(text))))
        elif took and text.startswith("}"):
            name = _name(text.removeprefix("} /* "))
            while open_calls and name in open_calls[-1].stack:  # Otherwise it was called before tracing began.
                call = open_calls.pop()
                if call.stack[-1] == name:
                    _close(found, open_calls, call, float(took) * NS)
                    break
        elif took and text.endswith(";"):
            stack = (*(open_calls[-1].stack if open_calls else ()), _name(text))
            found.least = min(found.least, float(took) * NS)
            _close(found, open_calls, _Open(stack), float(took) * NS)
    return found


def _name(text: str) -> str:
    match = _NAME.match(text)
    return match[0] if match else text


def _close(found: Traced, callers: list[_Open], call: _Open, took: float) -> None:
    if any(map(_INTERRUPT.match, call.stack)):
        found.interrupts += took - call.within
    else:
        entry = found.by_stack.setdefault(call.stack, Calls())
        entry.raw.append(took - call.within)
        entry.called.append(call.called)
    if callers:
        callers[-1].within += took
        callers[-1].called += 1


@dataclass(frozen=True)
class Function:
    """One function as called by one stack of callers, for one round trip. A row of functions.csv."""

    stack: tuple[str, ...]
    """From the system call or interrupt to the function."""
    layer: str
    calls: float
    instructions: float
    """Its own, without those of functions that it called."""


def functions(traced: Traced, times: int, count: float, count_traced: float) -> tuple[Function, ...]:
    """The instructions of each function for one of `times` round trips, the costliest first.

    `count` and `count_traced` are the instructions of a round trip without and with the tracer.
    """
    if not traced.calls:
        return ()
    within = traced.least - LEAST
    rest = _rest(traced, within, (count_traced - count) * times)
    found = (
        Function(stack, layer, len(one.raw) / times, one.own(within, rest) / times)
        for stack, layer, one in _with_layers(traced)
    )
    return tuple(sorted(found, key=lambda function: -function.instructions))


def _rest(traced: Traced, within: float, added: float) -> float:
    """The tracer's cost of a call that is within the caller's time, where the tracer `added` so many instructions.

    Interrupts and rare events added some too, but how many is known only with the cost: it converges.
    """
    rest = 0.0
    disturbance = traced.interrupts
    for _ in range(CONVERGED):
        rest = max((added - disturbance) / traced.calls - within, 0.0)
        disturbance = traced.interrupts + sum(one.disturbance(within, rest) for one in traced.by_stack.values())
    return rest


def _with_layers(traced: Traced) -> Iterator[tuple[tuple[str, ...], str, Calls]]:
    for stack, one in traced.by_stack.items():
        layer = OTHER
        for name in stack:
            layer = layer_of(name, layer)
        yield stack, layer, one
