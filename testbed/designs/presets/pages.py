"""Pages that stand by themselves: a preset's own text, and in what all of its kind are unlike the real thing."""


def whole(text: str | None, *unlike: str) -> str:
    """The text, and behind it each of the others in a paragraph of its own."""
    return "\n\n".join(part.strip() for part in (text or "", *unlike))
