"""A plan as a picture: the DOT language of Graphviz (https://graphviz.org/doc/info/lang.html).

Each node is a frame around its pods, its devices and its routes; the fabric is below the nodes, or, with many of them,
between two rows. Where a node has many pods they share a box.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from testbed.plan.objects import Bridge, Device, Kind, Plan, Route, Space, Veth, VethEnd, Vxlan

MOST_SINGLE_PODS = 4
"""Of a node, if each is to have a box of its own."""
MOST_LISTED_PODS = 24
MOST_ROUTES = 6
MOST_IN_A_ROW = 4
"""Nodes; more of them are in two rows."""
MOST_WITH_TUNNELS = 4
"""Nodes between which each tunnel is a line."""

_FILL = {"pod": "#dbe9f6", "bridge": "#dff0d8", "tunnel": "#fde3c8", "uplink": "#eeeeee", "routes": "#ffffff"}
_LINE = {"veth": "#555555", "tunnel": "#c8640a", "inside": "#aaaaaa"}
_HEAD = """\
  graph [fontname="sans-serif", fontsize=20, labelloc=t, nodesep=0.2, ranksep=0.45, newrank=true, compound=true]
  node [fontname="sans-serif", fontsize=11, shape=box, style="filled,rounded", color="#777777", margin="0.12,0.06"]
  edge [fontname="sans-serif", fontsize=9, dir=none, color="#555555"]
"""


class _Wiring:
    """What leads where, looked up once for all devices."""

    def __init__(self, plan: Plan) -> None:
        self.pods: dict[str, list[tuple[Space, VethEnd, VethEnd]]] = {}
        """By node: its pods, each with its own end of its veth pair and the node's."""
        self.others: list[Veth] = []
        """The pairs that lead to no pod."""
        self._uplinks: set[tuple[str, str]] = set()
        """Space and name of ends that lead to another place than a pod."""
        self._with_uplink: set[tuple[str, str]] = set()
        """Space and name of bridges that have one of them as a port."""
        for veth in plan.veths:
            for end, near in ((veth.a, veth.b), (veth.b, veth.a)):
                if plan[end.space].kind is Kind.POD:
                    self.pods.setdefault(near.space, []).append((plan[end.space], end, near))
                    break
            else:
                self.others.append(veth)
                if veth.a.space != veth.b.space:
                    for end in (veth.a, veth.b):
                        self._uplinks.add((end.space, end.name))
                        self._with_uplink.add((end.space, end.master or ""))

    def is_uplink(self, space: Space, device: Device) -> bool:
        """Whether it leads to the fabric."""
        return (space.name, device.name) in self._uplinks

    def leads_out(self, space: Space, device: Device) -> bool:
        """Whether it leads to other nodes, by itself or by one of its ports."""
        if isinstance(device, Bridge):
            return (space.name, device.name) in self._with_uplink
        return isinstance(device, Vxlan) or self.is_uplink(space, device)


def dot(plan: Plan) -> str:
    """The whole plan in the DOT language."""
    wiring = _Wiring(plan)
    nodes = plan.of_kind(Kind.NODE)
    half = (len(nodes) + 1) // 2 if len(nodes) > MOST_IN_A_ROW else len(nodes)
    lower = nodes[half:]
    title = (
        f"{plan.topology}, {plan.design}: {_count(nodes, 'node')}, {_count(plan.of_kind(Kind.POD), 'pod')}, "
        f"MTU of pods {plan.pod_mtu}"
    )
    turned = {space.name for space in lower}
    lines = [f"graph {_quoted(plan.topology)} {{", _HEAD + f"  label={_quoted(title)}"]
    # What is named first is put on the left: so the lines of the nodes, in their order, come before the nodes.
    lines += (_line_between(plan, veth, turned) for veth in wiring.others)
    for space in nodes:
        lines += _node(plan, wiring, space, turned=space.name in turned)
    for space in plan.of_kind(Kind.SWITCH, Kind.ROUTER):
        lines += _other(plan, space)
    if len(nodes) <= MOST_WITH_TUNNELS:
        lines += _tunnels(plan)
    return "\n".join([*lines, "}", ""])


def _node(plan: Plan, wiring: _Wiring, space: Space, turned: bool) -> Iterator[str]:
    """The frame of a node and all in it: pods above bridges, and those above what leads out; `turned`, the reverse."""
    yield f"  subgraph {_quoted(f'cluster {space.name}')} {{"
    where = "b" if turned else "t"
    yield f'    label={_quoted(space.name)}; labelloc={where}; fontsize=14; style=rounded; color="#888888"'
    devices = plan.devices_of(space.name)
    for device in devices.values():
        if drawn := _device(wiring, space, device):
            yield f"    {_id(space.name, device.name)} [{drawn}]"
    yield f"    {_id(space.name, '')} [{_box('routes', [], _routes(space))}]"
    for device in devices.values():
        if _is_addressed(space, device):
            # What leads out is below the routes, and what leads to pods above them.
            ends = (space.name, ""), (space.name, device.name)
            yield "    " + _edge(*(ends if wiring.leads_out(space, device) is not turned else ends[::-1]), "inside")
        elif isinstance(device, VethEnd) and device.master and wiring.is_uplink(space, device):
            ends = (space.name, device.master), (space.name, device.name)
            yield "    " + _edge(*(ends if not turned else ends[::-1]), "inside")
    yield from _pods(wiring, space, turned)
    yield "  }"


def _pods(wiring: _Wiring, space: Space, turned: bool) -> Iterator[str]:
    own = wiring.pods.get(space.name, [])
    if len(own) <= MOST_SINGLE_PODS:
        for pod, end, near in reversed(own):  # What is named first of a row is put on the right.
            rows = [f"{end.name} {', '.join(map(str, pod.reached_at))}"]
            yield f"    {_id(pod.name, '')} [{_box('pod', [pod.name], rows)}]"
            edge = (pod.name, ""), (near.space, near.master or "")
            label = f"label={_quoted(near.name)}, tooltip={_quoted(f'veth {end.name} - {near.name}')}"
            yield "    " + _edge(*(edge[::-1] if turned else edge), "veth", label)
        return
    listed = [f"{pod.name}  {', '.join(map(str, pod.reached_at))}" for pod, _, _ in own[:MOST_LISTED_PODS]]
    more = len(own) - len(listed)
    rows = listed + ([f"and {more} more, up to {own[-1][0].reached_at[0]}"] if more else [])
    yield f"    {_id(space.name, 'pods')} [{_box('pod', [f'{len(own)} pods'], rows)}]"
    near = own[0][2]
    edge = (space.name, "pods"), (space.name, near.master or "")
    yield "    " + _edge(*(edge[::-1] if turned else edge), "veth", f'penwidth=4, label="{len(own)} veth pairs"')


def _other(plan: Plan, space: Space) -> Iterator[str]:
    """The fabric's switch, or the gateway: one box, with what it has."""
    bridges = [device for device in plan.devices_of(space.name).values() if isinstance(device, Bridge)]
    rows = [f"{address.dev} {address.interface}" for address in space.addresses]
    rows += [f"bridge {bridge.name}, MTU {bridge.mtu}" for bridge in bridges] + _routes(space)
    kind = "bridge" if space.kind is Kind.SWITCH else "uplink"
    yield f"  {_id(space.name, '')} [{_box(kind, [space.name], rows)}]"


def _device(wiring: _Wiring, space: Space, device: Device) -> str:
    """How a device is drawn; empty if it is only a line's end."""
    addresses = [str(address.interface) for address in space.addresses if address.dev == device.name]
    match device:
        case Bridge():
            return _box("bridge", [device.name], ["bridge", *addresses])
        case Vxlan():
            rows = [f"VXLAN {device.vni}, port {device.port}", *addresses, f"MTU {device.mtu}"]
            return _box("tunnel", [device.name], rows)
        case VethEnd() if wiring.is_uplink(space, device):
            return _box("uplink", [device.name], [*addresses, f"MTU {device.mtu}"])
    return ""


def _is_addressed(space: Space, device: Device) -> bool:
    """Whether the node itself sends by it."""
    return any(address.dev == device.name for address in space.addresses) and not (
        isinstance(device, VethEnd) and device.master
    )


def _line_between(plan: Plan, veth: Veth, turned: set[str]) -> str:
    """A veth pair that leads to no pod: between two bridges of a node, or from a node to the fabric or beyond."""
    kinds = {end: plan[end.space].kind for end in (veth.a, veth.b)}
    a, b = sorted((veth.a, veth.b), key=lambda end: kinds[end] is not Kind.NODE)
    if a.space in turned:
        a, b = b, a
    if a.space == b.space:
        within = (a.space, a.master or ""), (b.space, b.master or "")
        return "  " + _edge(*within, "veth", f"label={_quoted(f'{a.name} - {b.name}')}")
    one, other = ((end.space, end.name if kinds[end] is Kind.NODE else "") for end in (a, b))
    return "  " + _edge(one, other, "veth", f"tooltip={_quoted(f'veth {veth.a.name} - {veth.b.name}')}")


def _tunnels(plan: Plan) -> Iterator[str]:
    """A dashed line between each two devices that send frames to one another through a tunnel."""
    devices = ((space, link) for space in plan.spaces for link in space.links if isinstance(link, Vxlan))
    ends = {(link.vni, link.local): (space.name, link.name) for space, link in devices}
    drawn: set[frozenset[str]] = set()
    for space in plan.spaces:
        for entry in space.fdb:
            device = plan.device(space.name, entry.dev)
            assert isinstance(device, Vxlan)
            other = ends[device.vni, entry.remote]
            pair = frozenset(map(str, ((space.name, entry.dev), other)))
            if pair not in drawn:
                drawn.add(pair)
                yield "  " + _edge((space.name, entry.dev), other, "tunnel", "style=dashed, constraint=false")


def _routes(space: Space) -> list[str]:
    """Its routes, as `ip route` has them; of many the first."""
    shown = [_route(route) for route in space.routes[:MOST_ROUTES]]
    more = len(space.routes) - len(shown)
    return shown + ([f"and {more} more routes"] if more else [])


def _route(route: Route) -> str:
    via = f" via {route.via}" if route.via else ""
    return f"{route.to}{via} dev {route.dev}"


def _box(kind: str, head: Sequence[str], rows: Sequence[str]) -> str:
    if kind == "routes":
        text = "<br/>".join(["<i>routing</i>", *map(escape, rows)])
        return f'label=<{text}>, fillcolor="{_FILL[kind]}", fontsize=9, color="#bbbbbb"'
    text = "<br/>".join([f"<b>{escape(line)}</b>" for line in head] + [escape(row) for row in rows])
    return f'label=<{text}>, fillcolor="{_FILL[kind]}"'


def _edge(one: tuple[str, str], other: tuple[str, str], kind: str, more: str = "") -> str:
    attributes = ", ".join(filter(None, (f'color="{_LINE[kind]}"', more)))
    return f"{_id(*one)} -- {_id(*other)} [{attributes}]"


def _id(space: str, device: str) -> str:
    return _quoted(f"{space}:{device}" if device else space)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _count(things: Iterable[object], name: str) -> str:
    number = len(list(things))
    return f"{number} {name}{'' if number == 1 else 's'}"
