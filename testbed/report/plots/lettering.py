"""Width of drawn text, and fitting text to a width."""

from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

TEXT, SMALL, HEADING, TITLE = 8.5, 8, 9, 11.5
"""Sizes of most text, of captions, of panels' headings and of the title, in points."""


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """The maximum width of a drawn text, in inches; includes the 4% that fitting glyphs to pixels may add."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.04 * float(width) / 72


def fitted(text: str, inches: float, size: float = TEXT, bold: bool = False) -> str:
    """The text, shortened in its middle if it is too wide."""
    kept = len(text)
    shown = text
    while kept > 2 and text_width(shown, size, bold) > inches:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def wrapped(text: str, inches: float, size: float = TEXT, bold: bool = False) -> list[str]:
    """The text in lines of at most this width; words that are wider are shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if longer and text_width(longer, size, bold) <= inches:
            lines[-1] = longer
        else:
            lines.append(fitted(word, inches, size, bold))
    return lines
