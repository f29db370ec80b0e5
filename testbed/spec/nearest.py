"""Suggestions for misspelt words."""

LONGEST_NEAREST = 100
"""Longer words are not compared, as that takes time and they are not typing errors."""


def nearest(found: str, valid: tuple[str, ...]) -> str:
    """The valid word most similar to `found`; empty if none is similar."""
    import difflib  # Loading it takes longer than some verbs run.

    if len(found) > LONGEST_NEAREST:
        return ""
    by_lower = {word.lower(): word for word in reversed(valid)}
    match = difflib.get_close_matches(found.lower(), by_lower, n=1)
    return by_lower[match[0]] if match else ""


def unknown(what: str, found: str, valid: tuple[str, ...]) -> str:
    """Message for a word that is not valid."""
    near = nearest(found, valid)
    hint = f"did you mean '{near}'? " if near else ""
    return f"unknown {what} '{found}'; {hint}valid: {', '.join(valid)}"
