"""Combine the parts of all owners in one backend of a namespace. The order follows `OWNERS`, not the calls."""

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
    """Owners of consecutive rules, each with the number of rules."""

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The owner of each rule."""
        return tuple(joined.from_iterable((owner,) * number for owner, number in self.runs))


@dataclass(frozen=True)
class WholeSet:
    """A set and its members, unordered."""

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
        """The same, restricted to these tables."""
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
    """Combine all parts of a backend.

    Raises ValueError if two parts conflict, or if one owner has a chain or set twice.
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
                raise ValueError(f"{backend}: {other.owner} and {part.owner} both define the set {one.name}")
            sets[one.table, one.name] = WholeSet(one.kind, one.members, part.owner)
    return Whole(
        backend,
        {key: _chain(f"{backend}: {' '.join(key)}", chains[key]) for key in sorted(chains, key=_place)},
        {key: sets[key] for key in sorted(sets)},
    )


def _place(key: Key) -> tuple[str, int, str]:
    """Sort key: built-in chains come before those that they jump to."""
    table, name = key
    return table, BUILT_IN.index(name) if name in BUILT_IN else len(BUILT_IN), name


def _alone(owner: str, chain: Chain) -> WholeChain:
    """A chain of one owner; it is kept with the chain, as most chains stay the same when others change."""
    memory: dict[str, WholeChain] = vars(chain).setdefault("_wholes", {})
    if owner not in memory:
        rules = chain.rules + chain.last
        memory[owner] = WholeChain(rules, chain.hook, chain.policy, ((owner, len(rules)),) if rules else ())
    return memory[owner]


def _chain(what: str, parts: list[tuple[str, Chain]]) -> WholeChain:
    if len(parts) == 1:
        return _alone(*parts[0])
    owners = [owner for owner, _ in parts]
    if len(set(owners)) < len(owners):
        raise ValueError(f"{what}: {next(o for o in owners if owners.count(o) > 1)} defines this chain twice")
    hooks = {chain.hook for _, chain in parts if chain.hook}
    policies = {chain.policy for _, chain in parts if chain.policy}
    if len(hooks) > 1 or len(policies) > 1:
        raise ValueError(f"{what}: {' and '.join(owners)} have different hooks or policies")
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
