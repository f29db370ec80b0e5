"""Stable numbers: the next plan of a lab allocates the same numbers to the same names.

A domain is a separate sequence of numbers: the nodes, the pods of one node, the interface indices of the lab. It
allocates numbers from 0 by name. A name that is also in the next plan keeps its number, a new name gets an unused one,
and a freed number is not allocated again: a domain counts all numbers that it ever allocated. The caller decides what a
number means, for example an address in a subnet or an autonomous system.

Other values depend on the lab's first topology, such as the size of blocks. They are settled once.

    numbers = Allocator(before)                    # None for the first plan of a lab
    numbers.number("routers", ("core",))           # 0
    numbers.finished()                             # an Allocation: the numbers in use, and every domain's count

If a plan reuses parts of the previous one, the numbers of these parts are not requested again. An allocator with
`keeps` therefore keeps all numbers in use until they are freed.
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
    """The numbers that a domain has allocated."""

    name: str
    given: int
    """Count of all numbers ever allocated; equals the next number."""
    live: Mapping[Key, int] = field(hash=False)
    """The numbers in use, by name."""


@dataclass(frozen=True)
class Allocation:
    """The numbers and settled values of a plan."""

    domains: tuple[Domain, ...] = ()
    settled: tuple[tuple[str, Key, str | int], ...] = ()
    """Settled values, with domain and name."""

    @cached_property
    def _by_name(self) -> Mapping[str, Domain]:
        return {domain.name: domain for domain in self.domains}

    def number(self, domain: str, key: Key) -> int:
        """The number in use for a name. Raises KeyError if it has none."""
        return self._by_name[domain].live[key]


@dataclass(frozen=True)
class Room:
    """The capacity of a domain, including freed numbers."""

    size: int
    what: str
    """What is allocated, such as `pod address on node1`."""
    remedy: str
    """What to do if the domain is full."""


class Exhausted(Exception):
    """A domain is full: all its numbers are in use or freed."""

    def __init__(self, room: Room, in_use: int, freed: int) -> None:
        super().__init__(
            f"no {room.what} left: {in_use} of {room.size} in use, {freed} freed in this lab and not allocated again; "
            f"{room.remedy}"
        )
        self.room = room
        self.in_use = in_use
        self.freed = freed


@dataclass
class _Open:
    """A domain during planning."""

    before: Mapping[Key, int]
    given: int
    live: dict[Key, int] = field(default_factory=dict)

    def number(self, key: Key) -> int:
        number = self.live.get(key)
        if number is None:
            number = self.before.get(key)
            if number is None:
                number = self.given
                self.given += 1
            self.live[key] = number
        return number


class Allocator:
    """Allocates numbers during planning."""

    def __init__(self, before: Allocation | None = None, *, keeps: bool = False) -> None:
        """With `keeps`, numbers stay in use until freed; otherwise numbers that are not requested are freed."""
        before = before or Allocation()
        self._keeps = keeps
        self._before = {domain.name: domain for domain in before.domains}
        self._settled_before = {(domain, key): value for domain, key, value in before.settled}
        self._open: dict[str, _Open] = {}
        self._settled: dict[tuple[str, Key], str | int] = dict(self._settled_before) if keeps else {}

    def number(self, domain: str, key: Key) -> int:
        """The number of a name; the domain's next one if the name is new."""
        return self._opened(domain).number(key)

    def numbers(self, domain: str, keys: Iterable[Key], room: Room | None = None) -> tuple[int, ...]:
        """The numbers of all names of a domain; others are freed. Raises Exhausted if there is no room."""
        opened = self._opened(domain)
        opened.live.clear()
        found = tuple(map(opened.number, keys))
        if room:
            self.check(domain, room)
        return found

    def free(self, domain: str, keys: Iterable[Key]) -> None:
        """Frees the numbers of these names."""
        live = self._opened(domain).live
        for key in keys:
            live.pop(key, None)

    def check(self, domain: str, room: Room) -> None:
        """Raises Exhausted if the domain has allocated more numbers than there is room for."""
        if (opened := self._opened(domain)).given > room.size:
            in_use = sum(number < room.size for number in opened.live.values())
            raise Exhausted(room, in_use, room.size - in_use)

    def given(self, domain: str) -> int:
        """Count of all numbers that the domain ever allocated."""
        return self._opened(domain).given

    def settle(self, domain: str, key: Key, value: SettledT, among: Container[str | int] | None = None) -> SettledT:
        """The value settled earlier if it is still possible (in `among`); otherwise settles `value`."""
        found = self._settled_before.get((domain, key))
        if found is None or (among is not None and found not in among):
            found = value
        self._settled[domain, key] = found
        return cast(SettledT, found)

    def finished(self) -> Allocation:
        """The numbers in use; for domains that were not used, only their count."""
        used = {name: Domain(name, opened.given, opened.live) for name, opened in self._open.items()}
        if self._keeps:
            found = self._before | used
        else:
            found = used | {
                name: Domain(name, unused.given, {}) for name, unused in self._before.items() if name not in used
            }
        settled = ((domain, key, value) for (domain, key), value in self._settled.items())
        return Allocation(tuple(found.values()), tuple(settled))

    def _opened(self, name: str) -> _Open:
        opened = self._open.get(name)
        if opened is None:
            before = self._before.get(name)
            live = before.live if before else {}
            opened = _Open(live, before.given if before else 0, dict(live) if self._keeps else {})
            self._open[name] = opened
        return opened
