"""The fabric: nodes and the gateway on one switch, the same under every design.

Each node's `eth0` is a veth whose other end is a port of the switch, a bridge in a namespace of its own. The gateway is
a router on the same subnet and every node's default route, as in life.

With a rate the switch's ports limit what they send, each to its node: packets wait where they wait in a real network.
So a path's limit is the link of whoever receives, in each direction, and that of the gateway under designs that go by
way of it; what a node sends to several others at a time is limited at their links alone. The senders' own devices are
left as they are. There a queue would hold TCP back before it can fill it (TCP Small Queues).

Linux counts a packet as its sender's own until it is routed. Where nothing routes it before it comes to the switch
(`l2`, and between nodes themselves), TCP holds back in this way all the same: the rate is the same, but less waits.
"""

import ipaddress
from collections.abc import Mapping

from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft, SpaceDraft
from testbed.plan.naming import interface_name
from testbed.plan.objects import Kind
from testbed.spec.topology import MIN_QUEUE, ROUTER, SWITCH, Fabric
from testbed.spec.types import Interface, Network

UPLINK = "eth0"
"""The interface by which a node or the gateway hangs on the fabric."""
SWITCH_BRIDGE = "br0"
ETHERNET_HEADER = 14
QUEUE_MS = 50
"""How long a full queue takes to empty, where the topology does not say how much waits for a link."""

DEFAULT_ROUTE: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


def switch_port(name: str) -> str:
    """The switch's port to that node or to the gateway."""
    return interface_name("to", name)


def fabric(
    layout: Layout,
    *,
    node_device: str = "eth0",
    uplink_master: str | None = None,
    carried: Mapping[str, tuple[Network, ...]] = {},
) -> Draft:
    """The fabric with every node on it; designs go on from here.

    With `node_bridge` a node's address sits on a bridge of that name, of which `eth0` is a port.
    """
    draft = Draft()
    mtu = layout.topology.fabric.mtu
    switch = draft.space(SWITCH, Kind.SWITCH)
    quiet(switch, layout)
    switch.bridge(SWITCH_BRIDGE, mtu)
    gateway = draft.space(ROUTER, Kind.ROUTER, reached_at=tuple(at.ip for at in layout.gateway))
    quiet(gateway, layout)
    forward(gateway, layout)
    _plug_in(draft, gateway, layout.gateway, layout.topology.fabric)
    for node in layout.nodes:
        space = draft.space(node.name, Kind.NODE, reached_at=tuple(at.ip for at in node.addresses))
        quiet(space, layout)
        _plug_in(draft, space, node.addresses, layout.topology.fabric, uplink_master, node_device)
        for at in layout.gateway:
            space.route(DEFAULT_ROUTE[at.version], node_device, via=at.ip)
        for cidr in carried.get(node.name, ()):
            gateway.route(cidr, UPLINK, via=node.address(cidr.version))
    return draft


def _plug_in(
    draft: Draft,
    space: SpaceDraft,
    addresses: tuple[Interface, ...],
    fabric: Fabric,
    bridge: str | None = None,
    device: str = "eth0",
) -> None:
    mtu = fabric.mtu
    draft.veth((SWITCH, switch_port(space.name)), (space.name, UPLINK), mtu, a_master=SWITCH_BRIDGE, b_master=bridge)
    for address in addresses:
        space.address(device, address)
    if fabric.rate:
        draft[SWITCH].token_bucket(switch_port(space.name), fabric.rate, burst_of(fabric), queue_of(fabric))


def queue_of(fabric: Fabric) -> int:
    """How many bytes wait for a link of that fabric, which has a rate, before packets are dropped."""
    assert fabric.rate
    return fabric.queue or max(fabric.rate // 8 * QUEUE_MS // 1000, MIN_QUEUE)


def burst_of(fabric: Fabric) -> int:
    """How many bytes a link of that fabric, which has a rate, sends at once after a pause.

    What it carries in a millisecond: less would throttle fast links, as the kernel may look after them that late
    (tc-tbf(8)); more would let short transfers through at any speed. But two of the largest frames at least.
    """
    assert fabric.rate
    return max(fabric.rate // 8 // 1000, 2 * (fabric.mtu + ETHERNET_HEADER))


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
    if 6 not in layout.families:
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
