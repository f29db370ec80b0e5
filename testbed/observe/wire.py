"""What is really seen on the fabric while a pod sends to a pod on another node, held against the design's claim.

A packet socket in the switch's namespace records every frame at every port. A datagram with a mark of its own is sent
from pod to pod; the frames that carry the mark, in the order in which they were seen, are its sightings.
"""

import secrets
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

import dpkt

from testbed.designs.design import Design
from testbed.kernel.carry_out import Namespaces
from testbed.kernel.neighbours import forget_learned_in
from testbed.plan.addressing import layout
from testbed.plan.fabric import SWITCH_BRIDGE
from testbed.plan.objects import Kind, Plan, Space
from testbed.plan.sightings import Direction, Sighting, VxlanHeader
from testbed.spec.topology import SWITCH, Topology
from testbed.spec.types import Address

PORT = 7472
_PATIENCE_S = 2.0
_AT_ONCE = 50
"""After so many packets their neighbours are forgotten. Each may need eight entries of tables that hold 1,024."""
_VXLAN_HEADER = 8
_PACKET_OUTGOING = 4
_ETH_P_ALL = 0x0003


def node_pairs(plan: Plan) -> Iterator[tuple[Space, Space]]:
    """For each ordered pair of nodes with pods, the first pod of either."""
    first: dict[str, Space] = {}
    for pod in plan.of_kind(Kind.POD):
        first.setdefault(pod.home, pod)
    for source in first.values():
        for target in first.values():
            if source is not target:
                yield source, target


def check_crossings(
    design: Design, topology: Topology, plan: Plan, namespaces: Namespaces
) -> tuple[int, tuple[str, ...]]:
    """Sends a packet between every two nodes and compares its sightings with the design's claim.

    Returns how many packets were sent, and a line for each that took another way than claimed.
    """
    sent, failures = 0, list[str]()
    addresses = layout(topology)
    for source, target in node_pairs(plan):
        for address in target.reached_at:
            claimed = design.crossing(plan, addresses, source, target, address.version)
            seen = sightings(source, target, address, namespaces)
            if sent % _AT_ONCE == 0:
                forget_learned_in(namespaces.values())
            sent += 1
            if seen != claimed:
                failures.append(
                    f"packet {source.name} -> {target.name} {address}: seen on the fabric {describe(seen)}; "
                    f"{design.name} claims {describe(claimed)}"
                )
    return sent, tuple(failures)


def describe(seen: tuple[Sighting, ...]) -> str:
    """Sightings as one line."""
    return "; ".join(map(_describe, seen)) or "nothing"


def _describe(one: Sighting) -> str:
    tunnel = one.tunnel
    inside = f" in VXLAN {tunnel.vni} port {tunnel.port} {tunnel.source} > {tunnel.target}" if tunnel else ""
    return f"{one.port} {one.direction} {one.source_mac} > {one.target_mac}{inside}"


def sightings(source: Space, target: Space, address: Address, namespaces: Namespaces) -> tuple[Sighting, ...]:
    """Sends one marked datagram and returns where the switch saw it, in order."""
    mark = secrets.token_bytes(16)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with namespaces[SWITCH].entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    with namespaces[target.name].entered():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with namespaces[source.name].entered():
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with tap, receiver, sender:
        tap.setblocking(False)
        # A packet that cannot be sent or received is one that is not seen.
        with suppress(OSError):
            receiver.bind((str(address), PORT))
            sender.sendto(mark, (str(address), PORT))
            _wait_for(receiver)
        # Whoever delivered the packet has passed the switch before: all its frames are in the tap's queue.
        return tuple(_marked(tap, mark))


def _wait_for(receiver: socket.socket) -> None:
    """Until the datagram is there or patience ends; a lost one is told by its sightings."""
    deadline = time.monotonic() + _PATIENCE_S
    while not select.select([receiver], [], [], max(deadline - time.monotonic(), 0))[0]:
        if time.monotonic() >= deadline:
            return


def _marked(tap: socket.socket, mark: bytes) -> Iterator[Sighting]:
    while True:
        try:
            frame, (port, _, packet_type, _, _) = tap.recvfrom(65536)
        except BlockingIOError:
            return
        # The bridge itself, which is no port, sees a frame only if it is for the switch, or flooded.
        if mark in frame and port != SWITCH_BRIDGE:
            direction = Direction.OUT if packet_type == _PACKET_OUTGOING else Direction.IN
            yield sighting(port, direction, frame)


def sighting(port: str, direction: Direction, frame: bytes) -> Sighting:
    """A frame decoded as far as claims go."""
    ethernet = dpkt.ethernet.Ethernet(frame)
    return Sighting(SWITCH, port, direction, _mac(ethernet.src), _mac(ethernet.dst), _tunnel(ethernet.data))


def _tunnel(packet: object) -> VxlanHeader | None:
    """The VXLAN header, if the packet is UDP with a whole Ethernet frame behind such a header (RFC 7348)."""
    if not isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6) or not isinstance(packet.data, dpkt.udp.UDP):
        return None
    payload = bytes(packet.data.data)
    if len(payload) < _VXLAN_HEADER + 14 or payload[0] != 0x08:
        return None
    inner = dpkt.ethernet.Ethernet(payload[_VXLAN_HEADER:])
    return VxlanHeader(
        vni=int.from_bytes(payload[4:7], "big"),
        port=packet.data.dport,
        source=ip_address(packet.src),
        target=ip_address(packet.dst),
        inner_source_mac=_mac(inner.src),
        inner_target_mac=_mac(inner.dst),
    )


def _mac(raw: bytes) -> str:
    return raw.hex(":")
