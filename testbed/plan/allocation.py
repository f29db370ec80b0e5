"""Numbers that stay: what one plan of a lab gave out, so that the next plan of that lab gives the same to the same.

A domain is what is numbered on its own: the nodes, the pods of one node, the interface indices of the lab. Each gives
out numbers from 0 by name. Who is in the next plan as well keeps its number, who is new gets one that nobody had, and
what is freed is never given out again: a domain remembers how many numbers it ever gave. What a number means, an
address in a subnet or an autonomous system, is up to whoever asks.

Other values are no numbers, but follow from what there is at first, as the size of blocks does. They are settled once.

    numbers = Allocator(before)                    # None for the first plan of a lab
    numbers.number("routers", ("core",))           # 0
    numbers.finished()                             # an Allocation: what was asked for, and every domain's count

Where a plan takes over parts of the one before, nobody asks for the numbers of these. There all numbers stay in use
that nobody frees.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar, cast

Key = tuple[str, ...]
"""A name within a domain."""
SettledT = TypeVar("SettledT", str, int)


@dataclass(frozen=True)
class Domain:
    """What a domain has given out."""

    name: str
    given: int
    """How many numbers it ever gave: the next one."""
    live: Mapping[Key, int] = field(hash=False)
    """Those in use, by name."""


@dataclass(frozen=True)
class Allocation:
    """What a plan has given out."""

    domains: tuple[Domain, ...] = ()
    settled: tuple[tuple[str, Key, str | int], ...] = ()
    """Values that were settled once, by domain and name."""

    @cached_property
    def _by_name(self) -> Mapping[str, Domain]:
        return {domain.name: domain for domain in self.domains}

    def number(self, domain: str, key: Key) -> int:
        """The number in use of that name; KeyError if there is none."""
        return self._by_name[domain].live[key]


@dataclass(frozen=True)
class Room:
    """How many numbers a domain can give in all."""

    size: int
    what: str
    """What they are, as `pod addresses of node1`."""
    mend: str
    """What to do when all are given out."""


class Exhausted(Exception):
    """A domain has given out all its numbers, counted with those that were freed."""

    def __init__(self, room: Room, in_use: int, freed: int) -> None:
        super().__init__(
            f"no {room.what} left: {in_use} of {room.size} in use, {freed} freed in this lab and not given out again; "
            f"{room.mend}"
        )
        self.room = room
        self.in_use = in_use
        self.freed = freed


@dataclass
class _Open:
    """A domain while a plan is made."""

    had: Mapping[Key, int]
    given: int
    live: dict[Key, int] = field(default_factory=dict)

    def number(self, key: Key) -> int:
        number = self.live.get(key)
        if number is None:
            number = self.had.get(key)
            if number is None:
                number = self.given
                self.given += 1
            self.live[key] = number
        return number


class Allocator:
    """Gives out numbers while one plan is made."""

    def __init__(self, before: Allocation | None = None, *, keeps: bool = False) -> None:
        """With `keeps` all that was in use stays so until it is freed; otherwise what nobody asks for is free."""
        before = before or Allocation()
        self._keeps = keeps
        self._before = {domain.name: domain for domain in before.domains}
        self._settled_before = {(domain, key): value for domain, key, value in before.settled}
        self._open: dict[str, _Open] = {}
        self._settled: dict[tuple[str, Key], str | int] = dict(self._settled_before) if keeps else {}

    def number(self, domain: str, key: Key) -> int:
        """The number of that name: the one that it has, or else the domain's next."""
        return self._opened(domain).number(key)

    def numbers(self, domain: str, keys: Iterable[Key], room: Room | None = None) -> tuple[int, ...]:
        """Those of several names, which are all that are in use of the domain; Exhausted if there is no room."""
        opened = self._opened(domain)
        opened.live.clear()
        found = tuple(map(opened.number, keys))
        if room:
            self.check(domain, room)
        return found

    def free(self, domain: str, keys: Iterable[Key]) -> None:
        """Nobody has these numbers any more."""
        live = self._opened(domain).live
        for key in keys:
            live.pop(key, None)

    def check(self, domain: str, room: Room) -> None:
        """Raises Exhausted if the domain has given out more numbers than there is room for."""
        if (opened := self._opened(domain)).given > room.size:
            in_use = sum(number < room.size for number in opened.live.values())
            raise Exhausted(room, in_use, room.size - in_use)

    def given(self, domain: str) -> int:
        """How many numbers the domain ever gave."""
        return self._opened(domain).given

    def settle(self, domain: str, key: Key, value: SettledT, among: Container[str | int] | None = None) -> SettledT:
        """The value that was settled before, if it is among those that are possible; otherwise this one from now on."""
        found = self._settled_before.get((domain, key))
        if found is None or (among is not None and found not in among):
            found = value
        self._settled[domain, key] = found
        return cast(SettledT, found)

    def finished(self) -> Allocation:
        """What is in use, and of the domains that nobody asked how many numbers they ever gave."""
        asked = {name: Domain(name, opened.given, opened.live) for name, opened in self._open.items()}
        if self._keeps:
            found = self._before | asked
        else:
            found = asked | {
                name: Domain(name, had.given, {}) for name, had in self._before.items() if name not in asked
            }
        settled = ((domain, key, value) for (domain, key), value in self._settled.items())
        return Allocation(tuple(found.values()), tuple(settled))

    def _opened(self, name: str) -> _Open:
        opened = self._open.get(name)
        if opened is None:
            before = self._before.get(name)
            had = before.live if before else {}
            opened = _Open(had, before.given if before else 0, dict(had) if self._keeps else {})
            self._open[name] = opened
        return opened
