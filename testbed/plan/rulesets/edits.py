"""The smallest change from one list of rules to another."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Edits:
    """Deletions, then insertions, in the order to apply them."""

    deleted: tuple[int, ...]
    """Positions in the old list, descending, so that a deletion does not move the next ones."""
    inserted: tuple[int, ...]
    """Positions in the new list, ascending."""

    def __len__(self) -> int:
        return len(self.deleted) + len(self.inserted)


def edits(old: Sequence[str], new: Sequence[str]) -> Edits:
    """The edits that turn `old` into `new`: the fewest possible if no line is repeated; O(n log n)."""
    stay = kept(old, new)
    stayed = set(stay.values())
    return Edits(
        tuple(place for place in reversed(range(len(old))) if place not in stay),
        tuple(place for place in range(len(new)) if place not in stayed),
    )


def carried(there: Sequence[str], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """The new list with the foreign lines, which are in `there` but not in `old`.

    Each foreign line stays after the nearest preceding line that stays.
    """
    ours = set(kept(old, there).values())
    stay = kept([there[place] for place in sorted(ours)], new)
    foreign: dict[int, list[str]] = {}
    """By the position in the new list after which they are inserted; -1 for the head."""
    anchor, number = -1, 0
    for place, line in enumerate(there):
        if place in ours:
            anchor, number = stay.get(number, anchor), number + 1
        else:
            foreign.setdefault(anchor, []).append(line)
    whole = list(foreign.get(-1, ()))
    for place, line in enumerate(new):
        whole += (line, *foreign.get(place, ()))
    return tuple(whole)


def kept(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """The lines that stay, in order: position in the old list to position in the new list."""
    head = _common_prefix(old, new)
    tail = _common_prefix(reversed(old[head:]), reversed(new[head:]))
    before, after = _numbered(old[head : len(old) - tail]), _numbered(new[head : len(new) - tail])
    places = {line: place for place, line in enumerate(before)}
    common = [(places[line], place) for place, line in enumerate(after) if line in places]
    return {
        **{place: place for place in range(head)},
        **{head + one: head + other for one, other in _longest_increasing(common)},
        **{len(old) - place: len(new) - place for place in range(tail, 0, -1)},
    }


def _common_prefix(one: Iterable[str], other: Iterable[str]) -> int:
    """Number of equal lines at the start."""
    number = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        number += 1
    return number


def _numbered(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Each line with the number of its earlier occurrences."""
    seen: Counter[str] = Counter()
    numbered = []
    for line in lines:
        numbered.append((line, seen[line]))
        seen[line] += 1
    return numbered


def _longest_increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence with increasing first numbers (patience sorting)."""
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
