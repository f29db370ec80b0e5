"""Pages of presets: the preset's own text followed by the departures that presets of its kind share."""


def whole(text: str | None, *unlike: str) -> str:
    """The text, followed by each of the others as a paragraph."""
    return "\n\n".join(part.strip() for part in (text or "", *unlike))
