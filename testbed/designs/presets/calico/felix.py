"""The state that Felix, Calico's agent on each node, creates in several presets: VXLAN, and rules.

Its routes have protocol 80.
"""

import hashlib
import ipaddress
from collections.abc import Callable

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.calico.blocks import lay_out, with_pods
from testbed.designs.presets.calico.firewall import MASQUERADED, Tunnels, protect
from testbed.designs.presets.calico.pods import ATTACHMENT
from testbed.designs.transport import Joining, Leg, Transport
from testbed.designs.transports.overlay import frame_tunnel, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.objects import Plan
from testbed.spec.design import TransportSpec
from testbed.spec.types import Address

PROTOCOL = 80
"""Protocol of its routes, as `ip route` prints it."""
VNI, VXLAN_PORT = 4096, 4789
VXLAN = {4: "vxlan.calico", 6: "vxlan-v6.calico"}
"""Device by the family of the pods' packets, which is also the outer family."""
UNLIKE = """
Unlike in a cluster, no Felix runs: its rules, sets and routes are written once, when the lab comes up. Nothing is
watched, and what is deleted is not put back; `testbed inspect` shows it.
Unlike in a cluster, the testbed itself attaches pods, without Calico's CNI plugins.
Unlike in a cluster with policies, there are no policies, tiers or host endpoints: the chains of host endpoints are
empty, and the profile of its namespace accepts each pod's traffic.
Unlike Felix, which can also use eBPF programs (eBPF mode) or nftables, the presets use iptables only.
Unlike in a cluster, blocks are allocated in ascending order, the nodes' first ones in the nodes' order; Calico's order
is pseudo-random. A block without pods is released at once, not after a grace period, and allocated again only after all
others. A node never borrows addresses from the blocks of other nodes.
Unlike Felix' own, rules have no `cali:` comments, by which Felix identifies them.
"""
UNLIKE += pages.WITHOUT_IPV6
RULES = ("iptables", "ip6tables", "ipset")
BGP = ("bird", "birdc")
"""Programs that presets with BGP run."""
WITHOUT = Tunnels()


def preset(
    name: str,
    transport: Transport,
    summary: str,
    page: str,
    *,
    mode: str | None = None,
    programs: tuple[str, ...] = BGP,
    tunnels: Tunnels = WITHOUT,
) -> Design:
    """A Calico design with the given transport."""
    return Design(
        name,
        ATTACHMENT,
        transport,
        TransportSpec.model_validate({"kind": transport.name, "mode": mode}),
        None,
        summary,
        ("Calico",),
        agent=_with_rules(tunnels),
        masks=_masks,
        addressing=lay_out,
        pods_addressing=with_pods,
        also_needs=("masquerade", "ipset"),
        programs=(*programs, *RULES),
        page=pages.whole(page, UNLIKE),
    )


def _with_rules(tunnels: Tunnels) -> Callable[[Joining], None]:
    def agent(joining: Joining) -> None:
        for node in joining.nodes:
            protect(joining.draft[node.name], joining.layout, node, tunnels)

    return agent


def _masks(node: NodePlace) -> tuple[Address, ...]:
    return tuple(at.ip for at in node.addresses if at.version in MASQUERADED)


def vtep_mac(node: str, family: int) -> str:
    """MAC address of a node's VXLAN device: 66, and five bytes of the SHA-1 of the node's name."""
    digest = hashlib.sha1(f"{node}{'-v6' if family == 6 else ''}".encode()).digest()[:5]
    return ":".join(f"{byte:02x}" for byte in (0x66, *digest))


def vxlan(joining: Joining, node: NodePlace) -> None:
    """A node's VXLAN devices, each with the first address of the node's block."""
    space = joining.draft[node.name]
    for block in node.pod_cidrs:
        family, own = block.version, tunnel_address(block)
        mac = vtep_mac(node.name, family)
        # The address of a node with several links is not on any of them.
        dev = "" if node.is_on_loopback else joining.node_device
        space.vxlan(VXLAN[family], joining.mtu, VNI, VXLAN_PORT, node.address(family), dev=dev, mac=mac)
        space.address(VXLAN[family], ipaddress.ip_interface(own))


def reach_by_vxlan(space: SpaceDraft, remote: NodePlace) -> None:
    """The entries for a remote node: FDB entry, neighbour of its tunnel address, routes to its blocks."""
    for block in remote.pod_cidrs:
        dev, there = VXLAN[block.version], tunnel_address(block)
        mac = vtep_mac(remote.name, block.version)
        space.fdb(mac, dev, remote.address(block.version))
        space.neighbour(there, mac, dev)
        for own in remote.ranges_of(block.version):
            space.route(own, dev, via=there, onlink=True, protocol=PROTOCOL)


def vxlan_leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    return frame_tunnel(plan, VXLAN[family], f"VXLAN {VNI}", VXLAN_PORT, family, one, other)
