"""The fabric in the picture of a plan: links, and switches and routers in layers between the nodes.

The layer of a place follows from its distance to the nodes above and below: next to the upper row are its switches,
then their routers, and in the middle the places that join all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.plan.fabric import FAR, NEAR, SWITCH_BRIDGE
from testbed.plan.graphviz import box, edge, ident, quoted
from testbed.plan.objects import (
    MAIN_TABLE,
    Bridge,
    DeviceAddress,
    Kind,
    Netem,
    Plan,
    Route,
    Space,
    TokenBucket,
    Veth,
    VethEnd,
)

MOST_ROUTES = 6
"""Most routes listed for a place."""
_FAR_AWAY = 1000


@dataclass(frozen=True)
class Line:
    """A link between two places: a veth pair, or a shaped link."""

    one: VethEnd
    other: VethEnd
    label: tuple[str, ...] = ()
    """Its qualities: one line for both directions, or one line for each."""


def fabric_lines(plan: Plan, veths: Iterable[Veth]) -> Iterator[Line]:
    """The links that these pairs form; a shaped link with its namespace is one line."""
    cables = {space.name: space for space in plan.of_kind(Kind.CABLE)}
    halves: dict[str, list[tuple[VethEnd, VethEnd]]] = {}
    for veth in veths:
        inside = [end for end in (veth.a, veth.b) if end.space in cables]
        if not inside:
            yield Line(veth.a, veth.b)
        elif len(inside) == 1:
            (port,) = inside
            outer = veth.b if port is veth.a else veth.a
            known = halves.setdefault(port.space, [])
            known.append((outer, port))
            if len(known) == 2:
                first, second = known
                yield Line(first[0], second[0], _qualities(cables[port.space], first, second))


def _qualities(cable: Space, first: tuple[VethEnd, VethEnd], second: tuple[VethEnd, VethEnd]) -> tuple[str, ...]:
    rates = {item.dev: item for item in cable.of(TokenBucket)}
    delays = {item.dev: item for item in cable.of(Netem)}
    # Packets that enter by the near bridge are delayed on the near device, and rate limited where they leave.
    near, far = (first, second) if first[1].master == SWITCH_BRIDGE else (second, first)
    forth = _quality(rates.get(far[1].name), delays.get(NEAR))
    back = _quality(rates.get(near[1].name), delays.get(FAR))
    if forth == back:
        return (forth,)
    directions = ((far[0].space, forth), (near[0].space, back))
    return tuple(f"to {place}: {quality or 'unshaped'}" for place, quality in directions)


def _quality(rate: TokenBucket | None, netem: Netem | None) -> str:
    parts = [_rate(rate.rate)] if rate else []
    if netem:
        if netem.delay_us:
            spread = f" ± {_time(netem.jitter_us)}" if netem.jitter_us else ""
            parts.append(f"{_time(netem.delay_us)}{spread}")
        shares = ((netem.loss, "lost"), (netem.duplicate, "duplicated"), (netem.reorder, "reordered"))
        parts += (f"{share * 100:g} % {word}" for share, word in shares if share)
    return ", ".join(parts)


def _rate(bits: int) -> str:
    return f"{bits / 1e9:g} Gbit/s" if bits >= 10**9 else f"{bits / 1e6:g} Mbit/s"


def _time(microseconds: int) -> str:
    return f"{microseconds / 1000:g} ms" if microseconds >= 1000 else f"{microseconds} µs"


class Layers:
    """The layers in which places are drawn."""

    def __init__(self, lines: Sequence[Line], upper: Iterable[str], lower: Iterable[str]) -> None:
        self._near: dict[str, list[str]] = {}
        for line in lines:
            for one, other in ((line.one.space, line.other.space), (line.other.space, line.one.space)):
                self._near.setdefault(one, []).append(other)
        self._from_above, self._from_below = self._distances(upper), self._distances(lower)

    def _distances(self, start: Iterable[str]) -> dict[str, int]:
        found = dict.fromkeys(start, 0)
        frontier = list(found)
        while frontier:
            fresh = {other: found[here] + 1 for here in frontier for other in self._near.get(here, ())}
            frontier = [place for place in fresh if place not in found]
            found.update((place, fresh[place]) for place in frontier)
        return found

    def depth(self, place: str) -> int:
        return self._from_above.get(place, _FAR_AWAY) - self._from_below.get(place, _FAR_AWAY)

    def first_rows(self, nodes: Iterable[str]) -> Iterator[str]:
        """Keep the places linked with nodes in the order of the nodes; otherwise Graphviz minimizes crossings."""
        rows: dict[int, dict[str, None]] = {}
        for node in nodes:
            for place in self._near.get(node, ()):
                rows.setdefault(self.depth(place), {})[place] = None
        for places in rows.values():
            if len(places) > 1:
                yield f"{{ rank=same; {' -- '.join(map(ident, places))} [style=invis] }}"

    def line(self, line: Line, nodes: Iterable[str]) -> str:
        """A link as a line; between two places of equal depth it does not affect the layers."""
        one, other = ((end.space, end.name if end.space in nodes else "") for end in (line.one, line.other))
        depths = self.depth(one[0]), self.depth(other[0])
        is_level = depths[0] == depths[1] and all(len(self._near[end[0]]) > 1 for end in (one, other))
        if depths[0] > depths[1] or (not is_level and depths[0] == depths[1] and len(self._near[one[0]]) == 1):
            one, other = other, one
        attributes = [f"tooltip={quoted(f'veth {line.one.name} - {line.other.name}')}"]
        if line.label:
            attributes += [f"label={quoted(chr(10).join(line.label))}", "penwidth=2"]
        if is_level:
            attributes.append("constraint=false")
        return edge(one, other, "shaped" if line.label else "veth", ", ".join(attributes))


def place_box(plan: Plan, space: Space) -> str:
    """The box of a switch or router, with its addresses, bridges and routes."""
    bridges = [device for device in plan.devices_of(space.name).values() if isinstance(device, Bridge)]
    addresses: dict[str, list[str]] = {}
    for item in space.of(DeviceAddress):
        addresses.setdefault(item.dev, []).append(str(item.interface))
    rows = [f"{dev} {', '.join(own)}" for dev, own in addresses.items()]
    rows += [f"bridge {bridge.name}, MTU {bridge.mtu}" for bridge in bridges]
    kind = "bridge" if space.kind is Kind.SWITCH else "uplink"
    return f"{ident(space.name)} [{box(kind, [space.name], rows, routes(space))}]"


def routes(space: Space) -> list[str]:
    """The first routes of a space, including those of daemons, similar to the output of `ip route`."""
    found = (*space.of(Route), *space.learned)
    shown = [_route(route) for route in found[:MOST_ROUTES]]
    more = len(found) - len(shown)
    return shown + ([f"and {more} more routes"] if more else [])


def _route(route: Route) -> str:
    if route.blackhole:
        return f"{route.to} nowhere"
    if route.nexthops:
        return f"{route.to} dev {' or '.join(hop.dev for hop in route.nexthops)}"
    via = f" via {route.via}" if route.via else ""
    table = f" table {route.table}" if route.table != MAIN_TABLE else ""
    return f"{route.to}{via} dev {route.dev}{table}"
