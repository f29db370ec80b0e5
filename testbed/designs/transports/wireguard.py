"""wireguard: inside WireGuard, encrypted and authenticated (ChaCha20-Poly1305). Keys are created with the lab.

A node has one device per outer family, with every remote node as a peer. A peer has an endpoint and the addresses
allowed to and from it: those of its pods, and its own fabric address, from which it answers pods. One route covers the
whole pod range; WireGuard selects the peer by destination address. Packets grow by 60 bytes over IPv4 (20 IP, 8 UDP, 16
header, 16 tag), by 80 over IPv6; the inner packet is padded to 16 bytes where the MTU leaves room.
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
    """Each device listens on its own port, as with Flannel."""
    return (options.port or PORT) + (1 if outer == 6 else 0)


def join(joining: Joining, devices: Mapping[int, str] = DEVICE, of_nodes: bool = True) -> None:
    """Adds the devices, one per outer family. `of_nodes`: whether nodes' own addresses are allowed inside too."""
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
    """The tunnel between the nodes' addresses on the fabric."""
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(devices[outer], Tunnel("WireGuard", *ends, _port(options, outer), is_opaque=True), outer)


TRANSPORT = Transport(
    name="wireguard",
    summary="inside WireGuard, encrypted; keys are created with the lab",
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
