"""The fabric: switches, routers, and the links between them and to the nodes. It is the same under every design.

A switch is a bridge in its own namespace, a router a namespace that forwards, a link a veth pair. Routers have static
routes to every subnet and every node. Nodes have only a default route to their routers, as in real networks.

A link with a rate, a delay or losses is a separate namespace between its ends, without a process:

    end A - to-A [br0] x1 ~~ x2 [br1] to-B - end B

Packets from A to B are delayed and lost on x1 (netem) and rate limited on to-B (tbf); packets from B to A on x2 and
to-A. So each device has one queue. A sender's own device has none: TCP Small Queues allows only about a millisecond of
a socket's packets in the queues below TCP, which on a slow link is one or two packets, too few to fill the link. On a
real link a packet stops counting when it leaves the machine. Here the kernel counts it on every veth and bridge, until
it is routed, which never happens under `l2` and between nodes themselves. So a packet must be orphaned before the rate
limit: by netem, which does this for delayed packets (`skb_orphan_partial` in sch_netem.c), or without a delay by a
promiscuous bridge, which forwards a copy and drops the packet itself. A link with only a rate has one bridge.

A link that may lose, duplicate or reorder single packets carries none larger than its MTU: otherwise a segment of forty
packets would be lost as a whole.
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
"""The veth pair between the two bridges of a shaped link, which delays packets."""
ETHERNET_HEADER = 14
SMALLEST_FRAME = 60
"""Size of the smallest Ethernet frame in bytes, without its checksum."""
MIN_UNDER_WAY, MAX_UNDER_WAY = 1000, 250_000
"""Bounds for the limit of packets in flight on a link with a delay."""

DEFAULT_ROUTE: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def fabric(
    layout: Layout,
    numbers: Allocator | None = None,
    *,
    node_device: str = UPLINK,
    uplink_master: str | None = None,
    carried: Mapping[str, tuple[Network, ...]] = {},
) -> Draft:
    """The fabric with every node, to which a design adds its objects. `numbers` is the allocator used for the layout.

    `node_device` is the device of each node that has its address and default route; the caller creates it if it is not
    the node's first port. `uplink_master` is the bridge of the first port. `carried` has additional ranges, by node,
    which all routers of the fabric route to that node.
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
    parallel: Counter[tuple[str, str]] = Counter()
    for item in layout.links:
        parallel[item.link.ends] += 1
        _connect(draft, layout, item, uplink_master, parallel[item.link.ends])
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
    """A link: a veth pair, or the namespace of a shaped link. Switches come first, so the first end is a port."""
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
    """Limit of packets in flight: the number of smallest frames that the rate admits during the delay."""
    seconds = (quality.delay_us + quality.jitter_us) / 1_000_000
    packets = (quality.rate or MAX_RATE) / 8 / SMALLEST_FRAME * seconds
    return min(max(int(packets) + 1, MIN_UNDER_WAY), MAX_UNDER_WAY)


def queue_of(quality: Quality) -> int:
    """Queue length of a link with a rate, in bytes; packets beyond it are dropped."""
    assert quality.rate
    return quality.queue or usual_queue(quality.rate)


def burst_of(rate: int, mtu: int) -> int:
    """Burst of a link with a rate, in bytes.

    It is the rate times a millisecond: less would throttle fast links, since the kernel's timer may be that late
    (tc-tbf(8)); more would exempt short transfers from the rate. It is at least two of the largest frames.
    """
    return max(rate // 8 // 1000, 2 * (mtu + ETHERNET_HEADER))


def _route(space: SpaceDraft, layout: Layout, carried: Mapping[str, tuple[Network, ...]]) -> None:
    """A router's routes to destinations that are not on its own links."""
    hops: dict[tuple[str, str, str, int], NextHop] = {}

    def hop(step: Step, family: int) -> NextHop:
        """Created once, as many routes share it."""
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
        # A router on the segment has the kernel's prefix route.
        if steps := layout.routing.towards([number]).get(router):
            yield from ((cidr, steps) for cidr in layout.segments[number].subnets)


def _known_segments(layout: Layout) -> tuple[list[int], list[int]]:
    """The segments that all routers have routes to: those of switches and of nodes with one port; and for routers on
    none of these, the segment of the address at which others reach them."""
    ends = {segment.number for segment in layout.segments if segment.switches}
    ends.update(node.ports[0].segment for node in layout.nodes if not node.is_on_loopback)
    return sorted(ends), sorted({router.known_by.segment for router in layout.routers} - ends)


def _share_flows(space: SpaceDraft, layout: Layout, several: bool) -> None:
    """With several next hops, the multipath hash also uses the ports of a flow, as in real fabrics."""
    for family in layout.fabric_families if several else ():
        space.sysctl(f"net.ipv{family}.fib_multipath_hash_policy", 1)


def quiet(space: SpaceDraft, layout: Layout) -> None:
    """Set sysctls that a new namespace may inherit from the host, and disable discovery traffic that takes time."""
    for scope in ("all", "default"):
        # Designs may be asymmetric: a pod's packet to a remote node leaves by the fabric, and the reply returns
        # through the tunnel.
        space.sysctl(f"net.ipv4.conf.{scope}.rp_filter", 0)
        if space.kind is not Kind.POD:  # Pods receive no redirects, since all others send none.
            # A redirect would move packets off the path that the design claims.
            space.sysctl(f"net.ipv4.conf.{scope}.accept_redirects", 0)
            space.sysctl(f"net.ipv4.conf.{scope}.send_redirects", 0)
    if 6 not in layout.families or space.kind is Kind.CABLE:
        space.sysctl("net.ipv6.conf.all.disable_ipv6", 1, optional=True)
        return
    for scope in ("all", "default"):
        # A new namespace may inherit the host's value.
        space.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 0)
        # Addresses are unique by plan: duplicate address detection would only delay each by a second.
        space.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_ra", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.accept_redirects", 0)
        space.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0)


def forward(space: SpaceDraft, layout: Layout) -> None:
    """Make the namespace a router."""
    if 4 in layout.families:
        space.sysctl("net.ipv4.ip_forward", 1)
    if 6 in layout.families:
        space.sysctl("net.ipv6.conf.all.forwarding", 1)
