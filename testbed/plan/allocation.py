"""Stable numbers: the next plan of a lab allocates the same numbers to the same names.

A domain is a separate sequence of numbers: the nodes, the pods of one node, the interface indices of the lab. It
allocates numbers from 0 by name. A name that is also in the next plan keeps its number, and a new name gets an unused
one. First the domain allocates each number of its room once; then it recycles freed ones, in its order (`ORDERS`). So a
freed number is allocated again as late as possible, and a domain is full only if names in use have all its numbers. The
caller decides what a number means, for example an address in a subnet or an autonomous system.

Other values depend on the lab's first topology, such as the size of blocks. They are settled once.

    numbers = Allocator(before)                    # None for the first plan of a lab
    numbers.number("routers", ("core",))           # 0
    numbers.finished()                             # an Allocation: the numbers in use, and the position of every domain

If a plan reuses parts of the previous one, the numbers of these parts are not requested again. An allocator with
`keeps` therefore keeps all numbers in use until they are freed.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal, TypeVar, cast

Key = tuple[str, ...]
"""A name within a domain."""
Order = Literal["next fit", "queue"]
SettledT = TypeVar("SettledT", str, int)


@dataclass(frozen=True)
class Domain:
    """The numbers that a domain has allocated."""

    name: str
    given: int
    """The lowest number that was never allocated."""
    last: int
    """The number allocated last; -1 if none."""
    live: Mapping[Key, int] = field(hash=False)
    """The numbers in use, by name."""
    freed: tuple[int, ...] = ()
    """The numbers freed and not allocated since, the first freed first; only in a domain with the order `queue`."""


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
    """The capacity of a domain."""

    size: int
    what: str
    """What is allocated, such as `pod address on node1`."""
    remedy: str
    """What to do if the domain is full."""
    order: Order = "next fit"
    """The order of freed numbers."""


class Exhausted(Exception):
    """A domain is full: all its numbers are in use."""

    def __init__(self, room: Room) -> None:
        super().__init__(f"no {room.what} left: all {room.size} are in use; {room.remedy}")
        self.room = room


@dataclass
class _Open:
    """A domain during planning."""

    before: Mapping[Key, int]
    given: int = 0
    last: int = -1
    live: dict[Key, int] = field(default_factory=dict)
    freed: list[int] = field(default_factory=list)
    _used: set[int] | None = None
    """All numbers in use; only for a domain that recycles numbers."""

    def number(self, key: Key, room: Room | None) -> int:
        number = self.live.get(key)
        if number is None:
            number = self.before.get(key)
            if number is None:
                number = self._next(room)
            self.live[key] = number
        return number

    def numbers(self, keys: Iterable[Key], room: Room | None) -> tuple[int, ...]:
        keys = tuple(keys)
        staying, had = set(keys), {**self.before, **self.live}
        if room and room.order == "queue":
            self.freed += (number for key, number in had.items() if key not in staying)
        self.before = {key: number for key, number in had.items() if key in staying}
        self.live, self._used = {}, None
        return tuple(self.number(key, room) for key in keys)

    def free(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.live.pop(key, None)
        self._used = None

    def _next(self, room: Room | None) -> int:
        if room is None or self.given < room.size:
            found, self.given = self.given, self.given + 1
        else:
            if self._used is None:
                self._used = {*self.before.values(), *self.live.values()}
            found = ORDERS[room.order](self, self._used, room)
            self._used.add(found)
        self.last = found
        return found


def _next_fit(domain: _Open, used: set[int], room: Room) -> int:
    """The first free number after the one allocated last, and after the highest from 0."""
    for number in chain(range(domain.last + 1, room.size), range(min(domain.last + 1, room.size))):
        if number not in used:
            return number
    raise Exhausted(room)


def _longest_free(domain: _Open, used: set[int], room: Room) -> int:
    """The number that was freed first."""
    if not domain.freed:
        raise Exhausted(room)
    return domain.freed.pop(0)


ORDERS: Mapping[Order, Callable[[_Open, set[int], Room], int]] = {
    "next fit": _next_fit,
    "queue": _longest_free,
}
"""How a domain recycles numbers.

`next fit` is the order of host-local, which most CNI plugins call, and of kube-controller-manager for nodes' ranges.
`queue` is the order of Calico's blocks.
"""


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

    def number(self, domain: str, key: Key, room: Room | None = None) -> int:
        """The number of a name; the domain's next one if the name is new. Raises Exhausted if there is no room."""
        return self._opened(domain).number(key, room)

    def numbers(self, domain: str, keys: Iterable[Key], room: Room | None = None) -> tuple[int, ...]:
        """The numbers of all names of a domain; others are freed. Raises Exhausted if there is no room."""
        return self._opened(domain).numbers(keys, room)

    def free(self, domain: str, keys: Iterable[Key]) -> None:
        """Frees the numbers of these names."""
        self._opened(domain).free(keys)

    def known(self, domain: str) -> Mapping[Key, int]:
        """The numbers of a domain that are in use, now or in the previous plan, by name."""
        if domain in self._open:
            return {**self._open[domain].before, **self._open[domain].live}
        return self._before[domain].live if domain in self._before else {}

    def given(self, domain: str) -> int:
        """The lowest number that the domain has never allocated."""
        return self._opened(domain).given

    def settle(self, domain: str, key: Key, value: SettledT, among: Container[str | int] | None = None) -> SettledT:
        """The value settled earlier if it is still possible (in `among`); otherwise settles `value`."""
        found = self._settled_before.get((domain, key))
        if found is None or (among is not None and found not in among):
            found = value
        self._settled[domain, key] = found
        return cast(SettledT, found)

    def finished(self) -> Allocation:
        """The numbers in use. A domain that was not used begins again."""
        used = {
            name: Domain(name, opened.given, opened.last, opened.live, tuple(opened.freed))
            for name, opened in self._open.items()
        }
        found = self._before | used if self._keeps else used
        settled = ((domain, key, value) for (domain, key), value in self._settled.items())
        return Allocation(tuple(found.values()), tuple(settled))

    def _opened(self, name: str) -> _Open:
        opened = self._open.get(name)
        if opened is None:
            before = self._before.get(name) or Domain(name, 0, -1, {})
            there = before.live if self._keeps else {}
            known = {} if self._keeps else before.live
            opened = _Open(known, before.given, before.last, dict(there), list(before.freed))
            self._open[name] = opened
        return opened
