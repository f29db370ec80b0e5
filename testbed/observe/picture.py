"""Draw a walk as SVG: a column for each place, a row for each sighting, with the packet's headers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from testbed.observe.frames import Packet
from testbed.observe.trace import Hop, Walk

ROW, LANE, LEFT, TOP = 46, 132, 92, 96
"""In pixels: height of a row, width of a column, left and top margin."""
_LETTER = 6.3
"""Width of a letter of the text in layers."""
_PADDING = 12
_FORTH, _BACK, _TUNNEL, _FRAME = "#2b6cb0", "#2f855a", "#c8640a", "#718096"


@dataclass(frozen=True)
class _Layer:
    """A header of a packet, as text."""

    text: str
    colour: str
    x: float = 0
    width: float = 0


@dataclass(frozen=True)
class _Row:
    """A sighting and its position."""

    hop: Hop
    x: int
    y: int
    colour: str
    layers: tuple[_Layer, ...]
    begins: str
    """The title of a part of the walk, in its first row."""
    follows: bool
    """Whether a line is drawn from the previous row."""


def svg(walk: Walk, design: str) -> str:
    """The picture of a walk under a design, with the outcome below."""
    places = tuple(dict.fromkeys(hop.place for hop in (*walk.forth, *walk.back)))
    lanes = {place: LEFT + number * LANE + LANE // 2 for number, place in enumerate(places)}
    right = LEFT + len(places) * LANE + 24
    rows = list(_rows(walk, lanes, right))
    width = max((layer.x + layer.width for row in rows for layer in row.layers), default=right)
    return _template().render(
        walk=walk,
        design=design,
        good=walk.outcome == "answered",
        lanes=lanes,
        rows=rows,
        row=ROW,
        lane=LANE,
        top=TOP,
        right=right,
        width=max(width, 640) + 24,
        height=TOP + (len(rows) + 2) * ROW,
    )


def _rows(walk: Walk, lanes: dict[str, int], right: int) -> Iterator[_Row]:
    y = TOP + ROW // 2
    answer = "the error" if any(hop.packet.error for hop in walk.back) else "the answer"
    for hops, colour, name in ((walk.forth, _FORTH, "the packet"), (walk.back, _BACK, answer)):
        for number, hop in enumerate(hops):
            layers = tuple(_placed(_layers(hop.packet, colour), right))
            yield _Row(hop, lanes[hop.place], y, colour, layers, "" if number else name, number > 0)
            y += ROW
        y += ROW // 2


def _layers(packet: Packet, colour: str) -> Iterator[_Layer]:
    """The headers, from the outermost to the innermost."""
    macs = packet.macs
    for tunnel in packet.tunnels:
        yield _frame(macs)
        port = f" UDP {tunnel.port}" if tunnel.port else ""
        yield _Layer(f"IP {tunnel.source} → {tunnel.target}{port}, {tunnel.kind}", _TUNNEL)
        macs = tunnel.inner_macs or ("", "")
    if any(macs):
        yield _frame(macs)
    ports = f" {packet.ports[0]} → {packet.ports[1]}" if packet.ports else ""
    what = packet.error or f"{packet.protocol}{ports}"
    yield _Layer(f"IP {packet.source} → {packet.target}, TTL {packet.ttl}, {what}", colour)


def _frame(macs: tuple[str, str]) -> _Layer:
    """An Ethernet header; the last two bytes distinguish the addresses of a lab."""
    return _Layer(" → ".join(f"…{mac[-5:]}" for mac in macs), _FRAME)


def _placed(layers: Iterator[_Layer], x: float) -> Iterator[_Layer]:
    for layer in layers:
        width = len(layer.text) * _LETTER + _PADDING
        yield _Layer(layer.text, layer.colour, x, width)
        x += width + 2


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("testbed.observe"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("walk.svg")
