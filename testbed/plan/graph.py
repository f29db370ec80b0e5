"""A picture of a plan, in the DOT language of Graphviz.

Each node is a frame around its pods, devices and routes; the fabric is below the nodes, or between two rows of them if
there are many. The pods of a node with many pods share a box.
"""

from collections.abc import Iterable, Iterator

from testbed.plan.fabric_graph import Layers, Line, fabric_lines, place_box, routes
from testbed.plan.graphviz import HEAD, box, edge, ident, quoted, routes_box
from testbed.plan.objects import (
    TUNNELS,
    Bridge,
    Child,
    Datapath,
    Device,
    DeviceAddress,
    FdbEntry,
    Geneve,
    IpTunnel,
    Kind,
    Plan,
    Plugged,
    Program,
    Space,
    Tun,
    TunnelKind,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)

MOST_SINGLE_PODS = 4
"""Most pods of a node for which each has its own box."""
MOST_LISTED_PODS = 24
MOST_IN_A_ROW = 4
"""Most nodes in one row; more are in two rows."""
MOST_WITH_TUNNELS = 4
"""Most nodes for which each tunnel is a line."""


class _Wiring:
    """Connections between devices, looked up once."""

    def __init__(self, plan: Plan) -> None:
        self.pods: dict[str, list[tuple[Space, VethEnd, VethEnd]]] = {}
        """By node: its pods, each with the pod's and the node's end of the veth pair."""
        self.inner: list[Veth] = []
        """The pairs between two devices of one node."""
        others: list[Veth] = []
        self._uplinks: set[tuple[str, str]] = set()
        """Space and name of veth ends that lead to a place other than a pod."""
        self._with_uplink: set[tuple[str, str]] = set()
        """Space and name of bridges with such an end as a port."""
        for veth in plan.veths:
            for end, near in ((veth.a, veth.b), (veth.b, veth.a)):
                if plan[end.space].kind is Kind.POD:
                    self.pods.setdefault(near.space, []).append((plan[end.space], end, near))
                    break
            else:
                if veth.a.space == veth.b.space and plan[veth.a.space].kind is Kind.NODE:
                    self.inner.append(veth)
                else:
                    others.append(veth)
                    for end in (veth.a, veth.b):
                        self._uplinks.add((end.space, end.name))
                        self._with_uplink.add((end.space, end.master or ""))
        self.lines: tuple[Line, ...] = tuple(fabric_lines(plan, others))
        """Links between nodes and the fabric, and within the fabric."""
        self.children: dict[str, list[Child]] = {}
        """By node: its pods' devices whose parent is on the node."""
        for child in plan.children:
            self.children.setdefault(child.node, []).append(child)
        self.waiting: dict[str, list[Plugged]] = {}
        """By node: its pods without a device, which CNI plugins create in a running lab."""
        for item in plan.plugged:
            if item.ifname not in plan.devices_of(item.space):
                self.waiting.setdefault(item.node, []).append(item)

    def is_uplink(self, space: Space, device: Device) -> bool:
        """Whether it leads to the fabric."""
        return (space.name, device.name) in self._uplinks

    def leads_out(self, space: Space, device: Device) -> bool:
        """Whether the device or one of its ports leads to other nodes."""
        if isinstance(device, Bridge):
            return (space.name, device.name) in self._with_uplink
        return isinstance(device, (*TUNNELS, Child)) or self.is_uplink(space, device)


def dot(plan: Plan) -> str:
    """The whole plan in the DOT language."""
    wiring = _Wiring(plan)
    rows = _rows(plan, wiring)
    title = (
        f"{plan.topology}, {plan.design}: {_count(plan.of_kind(Kind.NODE), 'node')}, "
        f"{_count(plan.of_kind(Kind.POD), 'pod')}, MTU of pods {plan.pod_mtu}"
    )
    nodes = [name for row in rows for name in row]
    tunnels = list(_tunnels(plan))
    if tunnels and len(nodes) > MOST_WITH_TUNNELS:
        title += f"\n{_count(tunnels, 'tunnel')} between nodes, not drawn: more than {MOST_WITH_TUNNELS} nodes"
        tunnels = []
    layers = Layers(wiring.lines, *rows)
    lines = [f"graph {quoted(plan.topology)} {{", HEAD + f"  label={quoted(title)}"]
    # Graphviz puts what comes first on the left, so the nodes' lines, in order, come before the nodes.
    lines += (f"  {layers.line(line, nodes)}" for line in wiring.lines)
    held = (veth for veth in wiring.inner if _holder(plan, veth.a) or _holder(plan, veth.b))
    lines += (f"  {_inner(plan, veth, veth.a.space in rows[1])}" for veth in held)
    for row in rows:
        for name in row:
            lines += _node(plan, wiring, plan[name], turned=row is rows[1])
    lines += (f"  {place_box(plan, space)}" for space in plan.of_kind(Kind.SWITCH, Kind.ROUTER))
    lines += (f"  {row}" for row in layers.first_rows(nodes))
    return "\n".join([*lines, *tunnels, "}", ""])


def _rows(plan: Plan, wiring: _Wiring) -> tuple[list[str], list[str]]:
    """The nodes above and below the fabric; nodes at the same switch or router are in one row, unless all are."""
    nodes = [space.name for space in plan.of_kind(Kind.NODE)]
    if len(nodes) <= MOST_IN_A_ROW:
        return nodes, []
    at: dict[str, str] = {}
    for line in wiring.lines:
        for end, far in ((line.one, line.other), (line.other, line.one)):
            at.setdefault(end.space, far.space)
    together: dict[str, list[str]] = {}
    for node in nodes:
        together.setdefault(at.get(node, ""), []).append(node)
    if len(together) == 1:
        half = (len(nodes) + 1) // 2
        return nodes[:half], nodes[half:]
    upper: list[str] = []
    lower: list[str] = []
    for members in together.values():
        (upper if 2 * len(upper) < len(nodes) else lower).extend(members)
    return upper, lower


def _node(plan: Plan, wiring: _Wiring, space: Space, turned: bool) -> Iterator[str]:
    """The frame of a node with its contents: pods above bridges above uplinks; the reverse if `turned`."""
    yield f"  subgraph {quoted(f'cluster {space.name}')} {{"
    where = "b" if turned else "t"
    yield f'    label={quoted(space.name)}; labelloc={where}; fontsize=14; style=rounded; color="#888888"'
    drawn = list(_drawn(wiring, space, plan.devices_of(space.name).values()))
    for device, text in drawn:
        yield f"    {ident(space.name, device.name)} [{text}]"
    own = [f"lo {item.interface}" for item in space.of(DeviceAddress) if item.dev == "lo"]
    yield f"    {ident(space.name)} [{routes_box([*own, *routes(space)])}]"
    for device, _ in drawn:
        if _is_addressed(space, device) or _is_programmed(space, device) or _is_to_one(device):
            # Devices that lead out are below the routes, those that lead to pods above them.
            ends = (space.name, ""), (space.name, device.name)
            yield "    " + edge(*(ends if wiring.leads_out(space, device) is not turned else ends[::-1]), "inside")
        elif isinstance(device, VethEnd) and device.master and wiring.is_uplink(space, device):
            ends = (space.name, device.master), (space.name, device.name)
            yield "    " + edge(*(ends if not turned else ends[::-1]), "inside")
    drawn_names = {device.name for device, _ in drawn}
    for link in space.links:
        for port in link.ports if isinstance(link, Datapath) else ():
            if port in drawn_names:
                ends = (space.name, link.name), (space.name, port)
                yield "    " + edge(*(ends if not turned else ends[::-1]), "inside")
    yield from _pods(wiring, space, turned)
    yield from _waiting(wiring, space, turned)
    for child in wiring.children.get(space.name, ()):
        pod = plan[child.space]
        rows = [f"{child.name} {', '.join(map(str, pod.reached_at))}"]
        on_node = pod.kind is Kind.NODE
        if not on_node:
            yield f"    {ident(pod.name)} [{box('pod', [pod.name], rows)}]"
        pair = (pod.name, child.name if on_node else ""), (child.node, child.parent)
        yield "    " + edge(*(pair[::-1] if turned else pair), "veth", f"label={quoted(f'{child.kind} {child.mode}')}")
    yield "  }"


def _pods(wiring: _Wiring, space: Space, turned: bool) -> Iterator[str]:
    own = wiring.pods.get(space.name, [])
    if len(own) <= MOST_SINGLE_PODS:
        for pod, end, near in reversed(own):  # Graphviz puts the first of a row on the right.
            rows = [f"{end.name} {', '.join(map(str, pod.reached_at))}"]
            yield f"    {ident(pod.name)} [{box('pod', [pod.name], rows)}]"
            pair = (pod.name, ""), (near.space, near.master or "")
            label = f"label={quoted(near.name)}, tooltip={quoted(f'veth {end.name} - {near.name}')}"
            yield "    " + edge(*(pair[::-1] if turned else pair), "veth", label)
        return
    listed = [f"{pod.name}  {', '.join(map(str, pod.reached_at))}" for pod, _, _ in own[:MOST_LISTED_PODS]]
    more = len(own) - len(listed)
    rows = listed + ([f"and {more} more, up to {own[-1][0].reached_at[0]}"] if more else [])
    yield f"    {ident(space.name, 'pods')} [{box('pod', [f'{len(own)} pods'], rows)}]"
    near = own[0][2]
    pair = (space.name, "pods"), (space.name, near.master or "")
    yield "    " + edge(*(pair[::-1] if turned else pair), "veth", f'penwidth=4, label="{len(own)} veth pairs"')


def _waiting(wiring: _Wiring, space: Space, turned: bool) -> Iterator[str]:
    """Pods that CNI plugins will attach, in one box; their devices are not known yet."""
    own = [item.space for item in wiring.waiting.get(space.name, ())]
    if own:
        more = len(own) - MOST_LISTED_PODS
        rows = own[:MOST_LISTED_PODS] + ([f"and {more} more, up to {own[-1]}"] if more > 0 else [])
        yield f"    {ident(space.name, 'pods')} [{box('pod', [_count(own, 'pod')], rows)}]"
        pair = (space.name, "pods"), (space.name, "")
        yield "    " + edge(*(pair[::-1] if turned else pair), "veth", 'style=dotted, label="CNI"')


def _device(wiring: _Wiring, space: Space, device: Device) -> str:
    """The box of a device; empty if it is only the end of a line."""
    addresses = [str(address.interface) for address in space.of(DeviceAddress) if address.dev == device.name]
    match device:
        case Bridge():
            return box("bridge", [device.name], ["bridge", *addresses])
        case Vxlan():
            details = f"VXLAN, port {device.port}" if device.external else f"VXLAN {device.vni}, port {device.port}"
        case Geneve():
            details = f"Geneve, port {device.port}"
        case IpTunnel():
            details = device.kind.value
        case Wireguard():
            details = f"WireGuard, port {device.port}"
        case Tun():
            details = "tun, used by a program"
        case Child():
            return box("uplink", [device.name], [*addresses, f"MTU {device.mtu}"])
        case Datapath():
            return box("bridge", [device.name], ["Open vSwitch", _count(device.flows, "flow"), *addresses])
        case VethEnd() if _is_programs(space, device):
            details = "used by a program"
        case VethEnd() if wiring.is_uplink(space, device) or (addresses and not device.master):
            return box("uplink", [device.name], [*addresses, f"MTU {device.mtu}"])
        case _:
            return ""
    return box("tunnel", [device.name], [details, *addresses, f"MTU {device.mtu}"])


def _drawn(wiring: _Wiring, space: Space, devices: Iterable[Device]) -> Iterator[tuple[Device, str]]:
    """The devices to draw, each with its box; tunnels of one kind to single nodes share the box of the first."""
    by_kind: dict[TunnelKind, list[IpTunnel]] = {}
    for device in devices:
        if isinstance(device, IpTunnel) and device.remote:
            by_kind.setdefault(device.kind, []).append(device)
        elif text := _device(wiring, space, device):
            yield device, text
    for kind, (first, *others) in by_kind.items():
        if others:
            details = [f"{kind.value} to {len(others) + 1} nodes", f"MTU {first.mtu}"]
            yield first, box("tunnel", [first.name, f"and {len(others)} more"], details)
        else:
            yield first, _device(wiring, space, first)


def _is_to_one(device: Device) -> bool:
    """Whether it is a tunnel to a single node, which only routes refer to."""
    return isinstance(device, IpTunnel) and device.remote is not None


def _is_addressed(space: Space, device: Device) -> bool:
    """Whether the node itself sends through the device."""
    return any(address.dev == device.name for address in space.of(DeviceAddress)) and not (
        isinstance(device, VethEnd) and device.master
    )


def _is_programmed(space: Space, device: Device) -> bool:
    """Whether eBPF programs forward packets through the device."""
    return isinstance(device, TUNNELS) and space.bpf is not None and any(h.dev == device.name for h in space.bpf.hooks)


def _inner(plan: Plan, veth: Veth, turned: bool) -> str:
    """A pair between two devices of a node: bridges, datapaths or devices of programs."""
    a, b = (veth.b, veth.a) if turned else (veth.a, veth.b)
    label = f"label={quoted(f'{a.name} - {b.name}')}"
    return edge((a.space, _holder(plan, a)), (b.space, _holder(plan, b)), "veth", label)


def _holder(plan: Plan, end: VethEnd) -> str:
    """The bridge or datapath that the end is a port of; the end itself if a program uses it; otherwise empty."""
    space = plan[end.space]
    datapaths = (link.name for link in space.links if isinstance(link, Datapath) and end.name in link.ports)
    return end.master or next(datapaths, end.name if _is_programs(space, end) else "")


def _is_programs(space: Space, device: Device) -> bool:
    """Whether a program uses the device."""
    return any(device.name in program.devices for program in space.of(Program))


def _tunnels(plan: Plan) -> Iterator[str]:
    """A dashed line between each two devices that exchange frames through a tunnel."""
    devices = ((space, link) for space in plan.spaces for link in space.links if isinstance(link, Vxlan))
    ends = {(link.vni, link.local): (space.name, link.name) for space, link in devices}
    drawn: set[frozenset[str]] = set()
    for space in plan.spaces:
        for entry in space.of(FdbEntry):
            device = plan.device(space.name, entry.dev)
            assert isinstance(device, Vxlan)
            other = ends[device.vni, entry.remote]
            pair = frozenset(map(str, ((space.name, entry.dev), other)))
            if pair not in drawn:
                drawn.add(pair)
                yield "  " + edge((space.name, entry.dev), other, "tunnel", "style=dashed, constraint=false")


def _count(things: Iterable[object], name: str) -> str:
    number = len(list(things))
    return f"{number} {name}{'' if number == 1 else 's'}"
