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

from testbed.counting.layers import OTHER, layer_of

_LINE = re.compile(r"\s*.+-(\d+)\s+\|\s+(?:([\d.]+) us)?\s*\|\s*(.*)")
_NAME = re.compile(r"[\w.$]+")
LEAST = 5
"""Instructions of a function that only returns."""
NS = 1000
"""Instructions a microsecond."""


@dataclass
class Calls:
    """All calls of a function by the same stack of callers."""

    calls: int = 0
    raw: float = 0.0
    """Instructions in it without those in functions that it called, with the tracer's."""
    called: int = 0
    """Calls that it made."""


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
    least: float = float("inf")
    """The shortest call of a function that calls no other, in instructions."""

    @property
    def calls(self) -> int:
        return sum(one.calls for one in self.by_stack.values())


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
    took = max(took, call.within)  # Where an interrupt switches tasks, the tracer subtracts too much.
    entry = found.by_stack.setdefault(call.stack, Calls())
    entry.calls += 1
    entry.raw += took - call.within
    entry.called += call.called
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
    whole = (count_traced - count) * times / traced.calls
    within = traced.least - LEAST
    rest = max(whole - within, 0.0)
    found = (
        Function(stack, layer, one.calls / times, (one.raw - one.calls * within - one.called * rest) / times)
        for stack, layer, one in _with_layers(traced)
    )
    return tuple(sorted(found, key=lambda function: -function.instructions))


def _with_layers(traced: Traced) -> Iterator[tuple[tuple[str, ...], str, Calls]]:
    for stack, one in traced.by_stack.items():
        layer = OTHER
        for name in stack:
            layer = layer_of(name, layer)
        yield stack, layer, one
