"""Whose the rules are that are there."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from testbed.plan.rulesets.merge import Whole, WholeChain, merged
from testbed.plan.rulesets.owners import rank
from testbed.plan.rulesets.parts import Chain, Ruleset


def claimed(parts: Iterable[Ruleset], there: Whole, owner: str) -> Iterator[Ruleset]:
    """Parts that together are what is there: those of the others, and `owner`'s, who put everything else there.

    Where their rules do not stand together any more in the same order, or `owner`'s would not stand around them, the
    whole chain is the owner's. Sets are not looked at.
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
    """Where the one stands in the other, in one piece; None if it does not."""
    if not part:
        return 0
    starts = (place for place, line in enumerate(whole) if line == part[0])
    return next((place for place in starts if whole[place : place + len(part)] == part), None)
