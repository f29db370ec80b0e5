"""Suggestions for misspelt words: only words that differ by a typing error."""

import re
from collections.abc import Iterable

LONGEST_NEAREST = 100
"""Longer words are not compared, as that takes time and they are not typing errors."""
LETTERS_PER_ERROR = 3
MAX_ERRORS = 3
"""A word of n letters is near another if at most n/3 errors, and never more than 3, separate the two."""
_NUMBER = re.compile(r"[0-9]+")
_SEPARATOR = re.compile(r"[^a-z0-9]+")


def nearest(found: str, valid: tuple[str, ...]) -> str:
    """The valid word that the user meant with `found`; empty if none is near, or several are equally near.

    Words with different numbers are never near: `rack9` is not a misspelt `rack2`. A word is also near if it is the
    only one that contains `found` as whole parts: `l3-host-routes` for `host-routes`.
    """
    if not found or len(found) > LONGEST_NEAREST:
        return ""
    by_lower = {word.lower(): word for word in reversed(valid)}
    wanted = found.lower()
    if wanted in by_lower:
        return by_lower[wanted]
    near = _closest(wanted, by_lower) or [word for word in by_lower if _contains(word, wanted)]
    return by_lower[near[0]] if len(near) == 1 else ""


def unknown(what: str, found: str, valid: tuple[str, ...]) -> str:
    """Message for a word that is not valid."""
    near = nearest(found, valid)
    hint = f"did you mean '{near}'? " if near else ""
    return f"unknown {what} '{found}'; {hint}valid: {', '.join(valid)}"


def _closest(wanted: str, words: Iterable[str]) -> list[str]:
    """The words with the fewest errors, if these are few enough."""
    most = min(len(wanted) // LETTERS_PER_ERROR, MAX_ERRORS)
    numbers = _NUMBER.findall(wanted)
    errors = {
        word: count
        for word in words
        if abs(len(word) - len(wanted)) <= most
        and _are_compatible(numbers, _NUMBER.findall(word))
        and (count := _errors(wanted, word, most)) <= most
    }
    return [word for word, count in errors.items() if count == min(errors.values())]


def _are_compatible(some: list[str], others: list[str]) -> bool:
    """Whether words with these numbers may be one word, misspelt: the numbers are equal, or one word has none."""
    return not some or not others or some == others


def _contains(word: str, part: str) -> bool:
    """Whether `part` is one or several whole parts of the word."""
    inner = _SEPARATOR.sub("-", part).strip("-")
    return len(inner) >= LETTERS_PER_ERROR and f"-{inner}-" in f"-{_SEPARATOR.sub('-', word)}-"


def _errors(one: str, other: str, most: int) -> int:
    """Number of letters to insert, delete, replace or swap with the next (optimal string alignment distance).

    Larger than `most` if there are more.
    """
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        current = [row]
        for column, there in enumerate(other, start=1):
            cost = min(above[column] + 1, current[-1] + 1, above[column - 1] + (letter != there))
            if row > 1 < column and letter == other[column - 2] and one[row - 2] == there:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        if min(current) > most:
            return most + 1
        before, above = above, current
    return above[-1]
