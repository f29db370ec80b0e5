"""The fabric: its switches, its routers, the links between them and to the nodes, the same under every design.

A switch is a bridge in a namespace of its own, a router forwards, a link is a veth pair. Routers know every subnet and
every node by static routes, nodes have a default route to their routers alone, as in life.

A link with a rate, a delay or losses is a namespace of its own between its ends, without a process:

    end A - to-A [br0] x1 ~~ x2 [br1] to-B - end B

What goes from A to B is delayed and lost on x1 (netem) and limited in its rate on to-B (tbf), what goes back on x2 and
to-A. So there is one queue a device, and none on a sender's own device, where it would hold TCP back before it can fill
it: TCP leaves no more than a millisecond's worth of its own packets below itself (TCP Small Queues), and the one or two
that this is on a slow link are too few to keep it busy. On a real link a packet is no longer its sender's own when it
has left the machine. Here the kernel counts it as such on every veth and bridge, until it is routed, which under `l2`,
and between nodes themselves, it never is. So before a rate it is taken from its sender: by netem, which lets go of what
it delays for that very reason (`skb_orphan_partial` in sch_netem.c), or where there is no delay by a promiscuous
bridge, which forwards a copy and drops the packet itself. A link with a rate alone has one bridge.

Where single packets may be lost, doubled or overtaken, the link carries none larger than its MTU: a segment that is cut
in forty pieces later on would be lost as a whole.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from testbed.plan.addressing import Layout
from testbed.plan.allocation import Allocator
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.objects import Kind, Netem, NextHop, TokenBucket
from testbed.plan.routing import Step
from testbed.plan.segments import UPLINK as UPLINK
from testbed.plan.segments import PluggedLink, port_to
from testbed.spec.qualities import MAX_RATE, usual_queue
from testbed.spec.types import Network
from testbed.spec.underlay import Quality

SWITCH_BRIDGE = "br0"
FAR_BRIDGE = "br1"
NEAR, FAR = "x1", "x2"
"""Of a shaped link: the pair of devices that delays, between its two bridges."""
ETHERNET_HEADER = 14
SMALLEST_FRAME = 60
"""Bytes of the smallest Ethernet frame, without its checksum."""
MIN_UNDER_WAY, MAX_UNDER_WAY = 1000, 250_000
"""Packets that are on a link with a delay at a time: so many may be, however short it is, and at most."""

DEFAULT_ROUTE: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def fabric(
    layout: Layout,
    numbers: Allocator | None = None,
    *,
    node_device: str = UPLINK,
    uplink_master: str | None = None,
    carried: Mapping[str, tuple[Network, ...]] = {},
) -> Draft:
    """The fabric with every node on it; designs go on from here. `numbers` are those that the layout was made with.

    `node_device` is the device of each node that has its address and its default route, made by the caller if it is not
    its first port; `uplink_master` the bridge that this port is a port of. `carried` are further ranges, by node, that
    all routers of the fabric route to that node.
    """
    draft = Draft(numbers, layout.nodes)
    underlay = layout.underlay
    mtus = {name: segment.mtu for segment in layout.segments for name in segment.switches}
    for name in underlay.switches:
        quiet(draft.space(name, Kind.SWITCH), layout)
        draft[name].bridge(SWITCH_BRIDGE, mtus[name])
    for router in layout.routers:
        space = draft.space(router.name, Kind.ROUTER, reached_at=tuple(at.ip for at in router.addresses))
        quiet(space, layout)
        forward(space, layout)
    for node in layout.nodes:
        quiet(draft.space(node.name, Kind.NODE, reached_at=tuple(at.ip for at in node.addresses)), layout)
    alike: Counter[tuple[str, str]] = Counter()
    for item in layout.links:
        alike[item.link.ends] += 1
        _connect(draft, layout, item, uplink_master, alike[item.link.ends])
    for router in layout.routers:
        for port in router.ports:
            for address in port.addresses:
                draft[router.name].address(port.dev, address)
        _route(draft[router.name], layout, carried)
    for node in layout.nodes:
        space = draft[node.name]
        devices = [node_device, *(port.dev for port in node.ports[1:])]
        for port, dev in zip(node.ports, devices, strict=True):
            for address in port.addresses:
                space.address(dev, address)
        if node.is_on_loopback:
            for address in node.addresses:
                space.address("lo", address)
        steps = layout.routing.first_steps(node.ports)
        by_port = dict(zip((port.dev for port in node.ports), devices, strict=True))
        for family in layout.fabric_families if steps else ():
            hops = [NextHop(step.to.address(family), by_port[step.out.dev]) for step in steps]
            source = node.address(family) if node.is_on_loopback else None
            space.routes(DEFAULT_ROUTE[family], hops, source)
        _share_flows(space, layout, len(steps) > 1)
    return draft


def _connect(draft: Draft, layout: Layout, item: PluggedLink, uplink_master: str | None, number: int) -> None:
    """A link: a veth pair, or a shaped one's own namespace. Switches come first, so that pairs are made from ports."""
    ends = sorted(item.ends, key=lambda end: end[0] not in layout.underlay.switches)
    masters = [_master(layout, *end, uplink_master) for end in ends]
    link = item.link
    uneven = link.forth.is_uneven or link.back.is_uneven
    whole = link.offload and not uneven
    if not link.is_shaped:
        draft.veth(ends[0], ends[1], link.mtu, a_master=masters[0], b_master=masters[1], offload=whole)
        return
    name = "_".join((*link.ends, *([str(number)] if number > 1 else [])))
    space = draft.space(name, Kind.CABLE)
    quiet(space, layout)
    delays = link.forth.is_disturbed or link.back.is_disturbed
    to_a, to_b = (bool(way.rate and not way.is_delayed) for way in (link.back, link.forth))
    space.bridge(SWITCH_BRIDGE, link.mtu, promiscuous=to_a or (to_b and not delays))
    if delays:
        space.bridge(FAR_BRIDGE, link.mtu, promiscuous=to_b)
        draft.veth((name, NEAR), (name, FAR), link.mtu, a_master=SWITCH_BRIDGE, b_master=FAR_BRIDGE, offload=whole)
    exits = []
    for end, bridge in zip(item.ends, (SWITCH_BRIDGE, FAR_BRIDGE if delays else SWITCH_BRIDGE), strict=True):
        exits.append(port_to(end[0]))
        draft.veth(
            end,
            (name, exits[-1]),
            link.mtu,
            a_master=_master(layout, *end, uplink_master),
            b_master=bridge,
            offload=whole,
        )
    _shape(space, link.forth, NEAR, exits[1], link.mtu)
    _shape(space, link.back, FAR, exits[0], link.mtu)


def _master(layout: Layout, place: str, dev: str, uplink_master: str | None) -> str | None:
    if place in layout.underlay.switches:
        return SWITCH_BRIDGE
    return uplink_master if place in layout.topology.nodes and dev == UPLINK else None


def _shape(space: SpaceDraft, quality: Quality, middle: str, end: str, mtu: int) -> None:
    """One direction of a link."""
    if quality.is_disturbed:
        space.add(
            Netem(
                middle,
                quality.delay_us,
                quality.jitter_us,
                quality.loss,
                quality.duplicate,
                quality.reorder,
                under_way(quality),
            )
        )
    if quality.rate:
        space.add(TokenBucket(end, quality.rate, burst_of(quality.rate, mtu), queue_of(quality)))


def under_way(quality: Quality) -> int:
    """How many packets may be under way at a time: all that the rate lets in while one is, if they are the smallest."""
    seconds = (quality.delay_us + quality.jitter_us) / 1_000_000
    packets = (quality.rate or MAX_RATE) / 8 / SMALLEST_FRAME * seconds
    return min(max(int(packets) + 1, MIN_UNDER_WAY), MAX_UNDER_WAY)


def queue_of(quality: Quality) -> int:
    """How many bytes wait for a link with a rate before packets are dropped."""
    assert quality.rate
    return quality.queue or usual_queue(quality.rate)


def burst_of(rate: int, mtu: int) -> int:
    """How many bytes a link with a rate sends at once after a pause.

    What it carries in a millisecond: less would throttle fast links, as the kernel may look after them that late
    (tc-tbf(8)); more would let short transfers through at any speed. But two of the largest frames at least.
    """
    return max(rate // 8 // 1000, 2 * (mtu + ETHERNET_HEADER))


def _route(space: SpaceDraft, layout: Layout, carried: Mapping[str, tuple[Network, ...]]) -> None:
    """A router's way to all that is not on its own links."""
    hops: dict[tuple[str, str, str, int], NextHop] = {}

    def hop(step: Step, family: int) -> NextHop:
        """Made once: many routes share it."""
        key = (step.out.dev, step.to.owner, step.to.dev, family)
        if key not in hops:
            hops[key] = NextHop(step.to.address(family), step.out.dev)
        return hops[key]

    ways = list(_ways(space.name, layout, carried))
    for to, steps in ways:
        space.routes(to, [hop(step, to.version) for step in steps])
    _share_flows(space, layout, any(len(steps) > 1 for _, steps in ways))


def _ways(
    router: str, layout: Layout, carried: Mapping[str, tuple[Network, ...]]
) -> Iterator[tuple[Network, tuple[Step, ...]]]:
    ends, between = _known_segments(layout)
    yield from _segment_ways(router, layout, ends)
    for node in layout.nodes:
        own = layout.subnet_of(node) if node.is_on_loopback else ()
        steps = layout.routing.to_node(router, node.ports)
        yield from ((cidr, steps) for cidr in (*own, *carried.get(node.name, ())))
    yield from _segment_ways(router, layout, between)


def _segment_ways(router: str, layout: Layout, numbers: Iterable[int]) -> Iterator[tuple[Network, tuple[Step, ...]]]:
    for number in numbers:
        # A router that is on it has the kernel's own route.
        if steps := layout.routing.towards([number]).get(router):
            yield from ((cidr, steps) for cidr in layout.segments[number].subnets)


def _known_segments(layout: Layout) -> tuple[list[int], list[int]]:
    """The Ethernets that all routers know: those of switches, and of nodes with one port; and of routers on none of
    these the one by which others know them."""
    ends = {segment.number for segment in layout.segments if segment.switches}
    ends.update(node.ports[0].segment for node in layout.nodes if not node.is_on_loopback)
    return sorted(ends), sorted({router.known_by.segment for router in layout.routers} - ends)


def _share_flows(space: SpaceDraft, layout: Layout, several: bool) -> None:
    """Where there are several ways, flows are told apart by their ports too, as real fabrics do it."""
    for family in layout.fabric_families if several else ():
        space.sysctl(f"net.ipv{family}.fib_multipath_hash_policy", 1)


def quiet(space: SpaceDraft, layout: Layout) -> None:
    """Settings that a new namespace may inherit from the host, and chatter that would cost time, fixed."""
    for scope in ("all", "default"):
        # Designs may be asymmetric on purpose: a pod's packet to a remote node leaves by the fabric, while the
        # answer comes back through the tunnel.
        space.sysctl(f"net.ipv4.conf.{scope}.rp_filter", 0)
        if space.kind is not Kind.POD:  # Whom nobody redirects, as all others are told not to.
            # A redirect would take packets off the path that the design claims.
            space.sysctl(f"net.ipv4.conf.{scope}.accept_redirects", 0)
            space.sysctl(f"net.ipv4.conf.{scope}.send_redirects", 0)
    if 6 not in layout.families or space.kind is Kind.CABLE:
        space.sysctl("net.ipv6.conf.all.disable_ipv6", 1, optional=True)
        return
    for scope in ("all", "default"):
        # A namespace may start with the host's choice; IPv6 is in use here.
        space.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 0)
        # Addresses are unique by plan: detecting duplicates would only delay each of them by a second.
        space.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_ra", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_redirects", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0)


def forward(space: SpaceDraft, layout: Layout) -> None:
    """Makes the namespace a router."""
    if 4 in layout.families:
        space.sysctl("net.ipv4.ip_forward", 1)
    if 6 in layout.families:
        space.sysctl("net.ipv6.conf.all.forwarding", 1)
