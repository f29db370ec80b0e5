"""The result of a check, and its text: the matrix of who reaches whom, the count, and the causes of failures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.observe.questions import PROTOCOLS
from testbed.spec.problems import counted

MTU = "mtu"
"""In place of a protocol: the largest packet of the pair does not fit, or a larger one does."""
LARGE = "large"
"""In place of a protocol: messages that are larger than the MTU do not come back."""
PORT = "port"
"""In place of a protocol: a port of a container does not answer."""
MOST_PLACES = 20
"""In a matrix of pods and nodes; larger labs get a matrix of nodes."""
MOST_PAIRS = 6


@dataclass(frozen=True)
class Failure:
    """A pair that failed with one protocol and address."""

    source: str
    target: str
    protocol: str
    address: str
    what: str


@dataclass(frozen=True)
class Cause:
    """Why pairs fail, as far as the kernel reports it."""

    pairs: tuple[tuple[str, str], ...]
    """Source and target of each pair that fails for this reason."""
    reason: str


@dataclass(frozen=True, repr=False)
class Verdict:
    """The result of a check. As text it is what `testbed check` prints."""

    places: tuple[str, ...]
    """Pods and nodes, in the plan's order."""
    asked: int
    failures: tuple[Failure, ...]
    astray: tuple[str, ...]
    """Packets between nodes that took another way than the design claims."""
    causes: tuple[Cause, ...]
    ended: tuple[str, ...] = ()
    """Processes and daemons of the design that have ended, if anything failed."""
    unaddressed: tuple[str, ...] = ()
    """Pods that CNI plugins have attached without an address, which must have one; they are not asked."""
    unasked: tuple[str, ...] = ()
    """Parts of the network model that were not checked, each with the reason."""

    @property
    def is_good(self) -> bool:
        """Whether everything passed."""
        return not self.failures and not self.astray and not self.unaddressed

    def __str__(self) -> str:
        whole = [] if len(self.places) > MOST_PLACES else [matrix_text(self, {}), ""]
        return "\n".join((*whole, *unasked(self), count(self), *details(self)))

    def __repr__(self) -> str:
        """One line, as pytest shows it where `assert lab.check().is_good` fails."""
        return f"<{in_short(self)}>"


def count(verdict: Verdict) -> str:
    """Such as `65 of 65 checks passed`."""
    passed = verdict.asked - len(verdict.failures) - len(verdict.astray)
    text = f"{passed} of {verdict.asked} checks passed"
    missing = len(verdict.unaddressed)
    return f"{text}; {counted(missing, 'pod')} without an address" if missing else text


def unasked(verdict: Verdict) -> Iterator[str]:
    """A line on what was not asked, if anything."""
    if verdict.unasked:
        yield f"not asked: {', '.join(verdict.unasked)}"


def details(verdict: Verdict) -> Iterator[str]:
    """Lines on what failed and why; none if all is good."""
    yield from _first(verdict.unaddressed)
    for line in verdict.ended:
        yield f"\n{line}"
    for cause in verdict.causes:
        pairs = [f"{source} → {target}" for source, target in cause.pairs]
        more = f" and {len(pairs) - MOST_PAIRS} more" if len(pairs) > MOST_PAIRS else ""
        yield f"\n{', '.join(pairs[:MOST_PAIRS])}{more}\n    {cause.reason}"
    explained = {pair for cause in verdict.causes for pair in cause.pairs}
    rest = [failure for failure in verdict.failures if (failure.source, failure.target) not in explained]
    if rest:
        yield ""
    yield from _first([f"{one.source} → {one.target} {one.protocol}: {one.what}" for one in rest])
    yield from verdict.astray[:MOST_PAIRS]


def _first(lines: Sequence[str]) -> Iterator[str]:
    """The first lines, and how many more there are."""
    yield from lines[:MOST_PAIRS]
    if len(lines) > MOST_PAIRS:
        yield f"and {len(lines) - MOST_PAIRS} more"


def in_short(verdict: Verdict) -> str:
    """The count, and the first cause or failure, on one line."""
    first = next((line for line in details(verdict) if line), "")
    return "; ".join(filter(None, (count(verdict), " ".join(first.split()))))


def matrix(verdict: Verdict) -> dict[tuple[str, str], str]:
    """By source and target: the protocols that failed, such as `tcp udp`; empty if all passed."""
    failed: dict[tuple[str, str], set[str]] = {}
    for item in verdict.failures:
        failed.setdefault((item.source, item.target), set()).add(item.protocol)
    return {
        (source, target): " ".join(p for p in (*PROTOCOLS, MTU, LARGE, PORT) if p in failed.get((source, target), ()))
        for source in verdict.places
        for target in verdict.places
        if source != target
    }


def matrix_text(verdict: Verdict, homes: Mapping[str, str]) -> str:
    """Rows are sources, columns are targets; of large labs by node: `homes` has the node of each place."""
    cells = matrix(verdict)
    places = verdict.places
    if len(places) <= MOST_PLACES:
        signs = {pair: _sign(failed) for pair, failed in cells.items()}
    else:
        failed_between = Counter((homes[a], homes[b]) for (a, b), failed in cells.items() if failed)
        places = tuple(dict.fromkeys(homes[place] for place in places))
        signs = {(a, b): str(failed_between[a, b] or "✓") for a in places for b in places}
    width = max(map(len, places), default=0)
    lines = [" " * width + "  " + " ".join(f"{place:>{max(len(place), 3)}}" for place in places)]
    for source in places:
        row = " ".join(f"{signs.get((source, target), '·'):>{max(len(target), 3)}}" for target in places)
        lines.append(f"{source:{width}}  {row}")
    return "\n".join(lines)


def _sign(failed: str) -> str:
    return {"": "✓", " ".join(PROTOCOLS): "✗"}.get(failed, failed)
