"""Elements of the DOT language of Graphviz (https://graphviz.org/doc/info/lang.html): boxes, lines, names."""

from collections.abc import Sequence
from html import escape

FILL = {"pod": "#dbe9f6", "bridge": "#dff0d8", "tunnel": "#fde3c8", "uplink": "#eeeeee", "routes": "#ffffff"}
LINE = {"veth": "#555555", "tunnel": "#c8640a", "inside": "#aaaaaa", "shaped": "#a03030"}
HEAD = """\
  graph [fontname="sans-serif", fontsize=20, labelloc=t, nodesep=0.2, ranksep=0.45, newrank=true, compound=true]
  node [fontname="sans-serif", fontsize=11, shape=box, style="filled,rounded", color="#777777", margin="0.12,0.06"]
  edge [fontname="sans-serif", fontsize=9, dir=none, color="#555555"]
"""

End = tuple[str, str]
"""A place and a device in it; the place itself if the device is empty."""


def box(kind: str, head: Sequence[str], rows: Sequence[str], small: Sequence[str] = ()) -> str:
    """The attributes of a box with bold, plain and small lines."""
    lines = [f"<b>{escape(line)}</b>" for line in head] + [escape(row) for row in rows]
    lines += [f'<font point-size="9">{escape(row)}</font>' for row in small]
    return f'label=<{"<br/>".join(lines)}>, fillcolor="{FILL[kind]}"'


def routes_box(rows: Sequence[str]) -> str:
    """The attributes of a box for a node's routes."""
    text = "<br/>".join(["<i>routing</i>", *map(escape, rows)])
    return f'label=<{text}>, fillcolor="{FILL["routes"]}", fontsize=9, color="#bbbbbb"'


def edge(one: End, other: End, kind: str, more: str = "") -> str:
    """A line; the first end is drawn above the second, unless `more` has `constraint=false`."""
    attributes = ", ".join(filter(None, (f'color="{LINE[kind]}"', more)))
    return f"{ident(*one)} -- {ident(*other)} [{attributes}]"


def ident(place: str, device: str = "") -> str:
    """The name of a box."""
    return quoted(f"{place}:{device}" if device else place)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
