"""Find the owners of existing rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from testbed.plan.rulesets.merge import Whole, WholeChain, merged
from testbed.plan.rulesets.owners import rank
from testbed.plan.rulesets.parts import Chain, Ruleset


def claimed(parts: Iterable[Ruleset], there: Whole, owner: str) -> Iterator[Ruleset]:
    """Split the existing rules `there` into the known parts and a part of `owner`, which gets all other rules.

    A chain belongs to `owner` as a whole if the known rules are no longer contiguous and in order, or if the other
    rules around them do not fit the owner's rank. Sets are ignored.
    """
    parts = tuple(part for part in parts if part.backend == there.backend)
    known = merged(parts, there.backend).chains
    own: list[Chain] = []
    kept = set()
    for key, chain in there.chains.items():
        before = known.get(key, WholeChain())
        at = _place(before.rules, chain.rules) if (before.policy or "ACCEPT") == (chain.policy or "ACCEPT") else None
        first, last = chain.rules[:at], chain.rules[(at or 0) + len(before.rules) :]
        is_outermost = all(rank(owner) < rank(other) for other, _ in before.runs)
        if at is None or ((first or last) and not is_outermost):
            own.append(Chain(*key, chain.rules, policy=chain.policy))
            continue
        kept.add(key)
        if first or last or key not in known:
            own.append(Chain(*key, first, last))
    for part in parts:
        chains = tuple(chain for chain in part.chains if (chain.table, chain.name) in kept)
        if chains or part.sets:
            yield replace(part, chains=chains)
    if own:
        yield Ruleset(owner, there.backend, tuple(own))


def _place(part: Sequence[str], whole: Sequence[str]) -> int | None:
    """Position of `part` in `whole` as a contiguous run; None if not found."""
    if not part:
        return 0
    starts = (place for place, line in enumerate(whole) if line == part[0])
    return next((place for place in starts if whole[place : place + len(part)] == part), None)
