"""The word that was probably meant where another one was written."""

LONGEST_NEAREST = 100
"""Longer words are not compared with the valid ones: no typing error is so long, and comparing takes time."""


def nearest(found: str, valid: tuple[str, ...]) -> str:
    """The valid word that was probably meant, or nothing."""
    import difflib  # Which takes longer to load than some verbs to run.

    if len(found) > LONGEST_NEAREST:
        return ""
    by_lower = {word.lower(): word for word in reversed(valid)}
    match = difflib.get_close_matches(found.lower(), by_lower, n=1)
    return by_lower[match[0]] if match else ""


def unknown(what: str, found: str, valid: tuple[str, ...]) -> str:
    """The line for a word that is none of the valid ones."""
    near = nearest(found, valid)
    meant = f"did you mean '{near}'? " if near else ""
    return f"there is no {what} '{found}'; {meant}valid: {', '.join(valid)}"
