"""The whole of one backend in one namespace, of all owners' parts. Their order is that of `OWNERS`, not of calls."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain as joined

from testbed.plan.rulesets.owners import rank
from testbed.plan.rulesets.parts import BUILT_IN, Backend, Chain, Hook, Ruleset

Key = tuple[str, str]
"""Table and name of a chain or a set."""


@dataclass(frozen=True)
class WholeChain:
    """A chain with the rules of all its owners."""

    rules: tuple[str, ...] = ()
    hook: Hook | None = None
    policy: str = ""
    runs: tuple[tuple[str, int], ...] = ()
    """Owners, each with the number of rules that follow one another there."""

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """Of each rule."""
        return tuple(joined.from_iterable((owner,) * number for owner, number in self.runs))


@dataclass(frozen=True)
class WholeSet:
    """A set and its members, in no order."""

    kind: str
    members: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Whole:
    """All chains and sets of one backend, by table and name, sorted."""

    backend: Backend
    chains: Mapping[Key, WholeChain] = field(default_factory=dict)
    sets: Mapping[Key, WholeSet] = field(default_factory=dict)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(table for table, _ in (*self.chains, *self.sets)))

    def only(self, *tables: str) -> "Whole":
        """The whole of these tables."""
        return Whole(
            self.backend,
            {key: chain for key, chain in self.chains.items() if key[0] in tables},
            {key: one for key, one in self.sets.items() if key[0] in tables},
        )

    def chains_of(self, table: str) -> dict[str, WholeChain]:
        """By name."""
        return {name: chain for (of, name), chain in self.chains.items() if of == table}

    def sets_of(self, table: str) -> dict[str, WholeSet]:
        """By name."""
        return {name: one for (of, name), one in self.sets.items() if of == table}


def merged(parts: Iterable[Ruleset], backend: Backend) -> Whole:
    """All parts of that backend in one.

    Raises ValueError if two parts contradict one another, or if two of one owner's have the same chain or set.
    """
    own = sorted((part for part in parts if part.backend == backend), key=lambda part: rank(part.owner))
    chains: dict[Key, list[tuple[str, Chain]]] = {}
    sets: dict[Key, WholeSet] = {}
    for part in own:
        for chain in part.chains:
            chains.setdefault((chain.table, chain.name), []).append((part.owner, chain))
        for one in part.sets:
            other = sets.get((one.table, one.name))
            if other:
                raise ValueError(f"{backend}: {other.owner} and {part.owner} both have the set {one.name}")
            sets[one.table, one.name] = WholeSet(one.kind, one.members, part.owner)
    return Whole(
        backend,
        {key: _chain(f"{backend}: {' '.join(key)}", chains[key]) for key in sorted(chains, key=_place)},
        {key: sets[key] for key in sorted(sets)},
    )


def _place(key: Key) -> tuple[str, int, str]:
    """Chains that the kernel makes come before those that they jump to."""
    table, name = key
    return table, BUILT_IN.index(name) if name in BUILT_IN else len(BUILT_IN), name


def _chain(what: str, parts: list[tuple[str, Chain]]) -> WholeChain:
    owners = [owner for owner, _ in parts]
    if len(set(owners)) < len(owners):
        raise ValueError(f"{what}: two parts of {next(o for o in owners if owners.count(o) > 1)} have this chain")
    hooks = {chain.hook for _, chain in parts if chain.hook}
    policies = {chain.policy for _, chain in parts if chain.policy}
    if len(hooks) > 1 or len(policies) > 1:
        raise ValueError(f"{what}: {' and '.join(owners)} want different hooks or policies")
    runs = [
        *((owner, chain.rules) for owner, chain in parts),
        *((owner, chain.last) for owner, chain in reversed(parts)),
    ]
    return WholeChain(
        tuple(joined.from_iterable(rules for _, rules in runs)),
        next(iter(hooks), None),
        next(iter(policies), ""),
        tuple((owner, len(rules)) for owner, rules in runs if rules),
    )
