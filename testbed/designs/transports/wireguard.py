"""wireguard: inside WireGuard, encrypted and authenticated (ChaCha20-Poly1305). Keys are made with the lab.

One device a node for each outer family, with every remote node as a peer: where it listens, and which packets may go to
it and come from it (its pods', and its own, which answers pods from its address on the fabric). There is one route, for
the whole pod range: which peer a packet is for WireGuard tells by its address. A packet is larger by 60 bytes with IPv4
outside (20 IP, 8 UDP, 16 header, 16 tag), and by 80 with IPv6; what is inside is padded to 16 bytes where the MTU
leaves room.
"""

import ipaddress
from collections.abc import Mapping

from testbed.designs.attachment import Delivers
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    less,
    outer_families,
    outer_family,
)
from testbed.designs.transports.overlay import UDP_HEADERS, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Plan, WireguardPeer
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

PORT = 51820
DEVICE = {4: "wg0", 6: "wg0-v6"}
HEADERS = {family: size + 32 for family, size in UDP_HEADERS.items()}


def _port(options: TransportSpec, outer: int) -> int:
    """Each device listens on a port of its own, as with Flannel."""
    return (options.port or PORT) + (1 if outer == 6 else 0)


def join(joining: Joining, devices: Mapping[int, str] = DEVICE, of_nodes: bool = True) -> None:
    """The devices, one for each outer family; and whether nodes' own addresses may be inside as well as pods'."""
    draft, layout, options = joining.draft, joining.layout, joining.options
    for node in layout.nodes:
        space = draft[node.name]
        tunnelled = list(joining.tunnelled(node))
        for outer in outer_families(layout):
            peers = (
                WireguardPeer(
                    remote.name,
                    remote.address(outer),
                    (
                        *(cidr for cidr in remote.pod_cidrs if outer_family(cidr.version, layout) == outer),
                        *([ipaddress.ip_network(remote.address(outer))] if of_nodes else []),
                    ),
                )
                for remote in tunnelled
            )
            space.wireguard(devices[outer], joining.mtu, _port(options, outer), peers)
        for own, cidr in zip(node.pod_cidrs, layout.pod_cidrs, strict=True):
            dev = devices[outer_family(cidr.version, layout)]
            space.address(dev, ipaddress.ip_interface(tunnel_address(own)))
            space.route(cidr, dev)


def leg(
    plan: Plan,
    layout: Layout,
    options: TransportSpec,
    one: NodePlace,
    other: NodePlace,
    family: int,
    devices: Mapping[int, str] = DEVICE,
) -> Leg:
    """Between the nodes' addresses on the fabric."""
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(devices[outer], Tunnel("WireGuard", *ends, _port(options, outer), is_opaque=True), outer)


TRANSPORT = Transport(
    name="wireguard",
    summary="inside WireGuard, encrypted; keys are made with the lab",
    like=("Flannel wireguard", "Calico and Cilium with WireGuard"),
    needs=("wireguard",),
    takes=frozenset({Delivers.PACKETS}),
    join=join,
    leg=leg,
    room=less(HEADERS),
    parameters=("port", "mode"),
    any_family=True,
    page=__doc__,
)
