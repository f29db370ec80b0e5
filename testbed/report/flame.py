"""A flame graph: each function a bar as wide as its instructions, above its caller's, coloured by layer. SVG alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from testbed.report.functions import Walk

WIDTH, ROW, TOP, NARROWEST = 1200, 17, 60, 0.4
LETTER = 6.6
"""Width of a character, in pixels."""
COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7"),
    *("#9c755f", "#bab0ac", "#86bcb6", "#d37295", "#a0cbe8", "#ffbe7d", "#8cd17d", "#b6992d"),
)


@dataclass
class _Bar:
    name: str
    layer: str
    own: float = 0.0
    calls: float = 0.0
    called: dict[str, "_Bar"] = field(default_factory=dict)

    @property
    def whole(self) -> float:
        return max(self.own, 0.0) + sum(bar.whole for bar in self.called.values())

    @property
    def depth(self) -> int:
        return 1 + max((bar.depth for bar in self.called.values()), default=0)


def svg(walk: Walk) -> str:
    """The flame graph of a walk as an SVG document; bars have their numbers as tooltips."""
    root = _Bar("round trip", "")
    for function in walk.functions:
        bar = root
        for name in function.stack:
            bar = bar.called.setdefault(name, _Bar(name, function.layer))
        bar.layer = function.layer
        bar.own += function.instructions
        bar.calls += function.calls
    layers = [layer for layer in walk.layers if any(f.layer == layer for f in walk.functions)]
    colours = {layer: COLOURS[number % len(COLOURS)] for number, layer in enumerate(layers)}
    height = TOP + root.depth * ROW + 10
    title = f"{walk.name}: {walk.total:,.0f} instructions a TCP round trip of 64 B"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="15" fill="#1f2328">{escape(title)}</text>',
        *_legend(colours),
        *_bars(root, 0.0, 0, WIDTH / root.whole, height, colours),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x, y = 8.0, 38
    for layer, colour in colours.items():
        wide = 20 + LETTER * len(layer)
        if x + wide > WIDTH:
            x, y = 8.0, y + 15
        yield f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 13:.1f}" y="{y}" font-size="11" fill="#1f2328">{escape(layer)}</text>'
        x += wide


def _bars(bar: _Bar, x: float, level: int, scale: float, height: int, colours: dict[str, str]) -> Iterator[str]:
    wide = bar.whole * scale
    if wide < NARROWEST:
        return
    y = height - 5 - (level + 1) * ROW
    fill = colours.get(bar.layer, "#d8dee4")
    tip = f"{bar.name}: {bar.whole:,.0f} instructions, {bar.own:,.0f} its own, {bar.calls:.3g} calls"
    yield f"<g><title>{escape(tip)}{f' ({escape(bar.layer)})' if bar.layer else ''}</title>"
    yield f'<rect x="{x:.2f}" y="{y}" width="{wide:.2f}" height="{ROW - 1}" fill="{fill}" rx="1"/>'
    fits = int((wide - 4) / LETTER)
    if fits >= 3:
        text = bar.name if len(bar.name) <= fits else f"{bar.name[: fits - 1]}…"
        yield f'<text x="{x + 2:.2f}" y="{y + 12}" font-size="11" fill="#1f2328">{escape(text)}</text>'
    yield "</g>"
    for called in sorted(bar.called.values(), key=lambda one: -one.whole):
        yield from _bars(called, x, level + 1, scale, height, colours)
        x += called.whole * scale
