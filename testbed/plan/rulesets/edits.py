"""The smallest change from one list of rules to another."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edits:
    """Deletions and then insertions, in the order in which they are to be done."""

    deleted: tuple[int, ...]
    """Positions in the old list, from the end to the front, so that none moves before its turn."""
    inserted: tuple[int, ...]
    """Positions in the new list, from the front to the end."""

    def __len__(self) -> int:
        return len(self.deleted) + len(self.inserted)


def edits(old: Sequence[str], new: Sequence[str]) -> Edits:
    """What turns one list into the other. As few as can be where no line is there twice; O(n log n)."""
    stay = kept(old, new)
    stayed = set(stay.values())
    return Edits(
        tuple(place for place in reversed(range(len(old))) if place not in stay),
        tuple(place for place in range(len(new)) if place not in stayed),
    )


def carried(there: Sequence[str], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """The new list with the lines of strangers, which are there and not in the old one.

    Each stays behind the line that it stands behind, or the nearest one before that which stays.
    """
    ours = set(kept(old, there).values())
    stay = kept([there[place] for place in sorted(ours)], new)
    strangers: dict[int, list[str]] = {}
    """By the position in the new list that they stand behind; -1 is its head."""
    anchor, number = -1, 0
    for place, line in enumerate(there):
        if place in ours:
            anchor, number = stay.get(number, anchor), number + 1
        else:
            strangers.setdefault(anchor, []).append(line)
    whole = list(strangers.get(-1, ()))
    for place, line in enumerate(new):
        whole += (line, *strangers.get(place, ()))
    return tuple(whole)


def kept(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """The lines that stay in their order: positions in the new list by those in the old one."""
    head = _alike(old, new)
    tail = _alike(reversed(old[head:]), reversed(new[head:]))
    before, after = _numbered(old[head : len(old) - tail]), _numbered(new[head : len(new) - tail])
    places = {line: place for place, line in enumerate(before)}
    common = [(places[line], place) for place, line in enumerate(after) if line in places]
    return {
        **{place: place for place in range(head)},
        **{head + one: head + other for one, other in _rising(common)},
        **{len(old) - place: len(new) - place for place in range(tail, 0, -1)},
    }


def _alike(one: Iterable[str], other: Iterable[str]) -> int:
    """With how many equal lines they begin."""
    number = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        number += 1
    return number


def _numbered(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Each line with how often it was there before."""
    seen: Counter[str] = Counter()
    numbered = []
    for line in lines:
        numbered.append((line, seen[line]))
        seen[line] += 1
    return numbered


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose first numbers rise (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (first, _) in enumerate(pairs):
        pile = bisect_left(tops, first)
        before.append(ends[pile - 1] if pile else -1)
        if pile == len(tops):
            tops.append(first)
            ends.append(number)
        else:
            tops[pile], ends[pile] = first, number
    found, at = [], ends[-1] if ends else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]
