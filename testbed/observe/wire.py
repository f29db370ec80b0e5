"""Compare what is seen on the fabric, while a pod sends to a pod on another node, with the design's claim.

Packet sockets in all switches and routers record every frame at every port. A datagram with a unique mark is sent from
pod to pod; the frames that carry the mark are its sightings, in order of time. If the design encrypts, no frame may
carry the mark; then the sightings are the large frames of the encrypted tunnel, since the datagram is larger than any
other traffic.
"""

import secrets
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Self

from testbed.designs.design import Design
from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.frames import Ports, ports_of, unwrapped
from testbed.observe.ports import WIRE_PORT
from testbed.observe.taps import STAMPS_S, Frame, frames, tap
from testbed.plan.objects import Bridge, Kind, Plan, Space
from testbed.plan.sightings import Direction, Sighting, Way
from testbed.spec.topology import Topology
from testbed.spec.types import Address

_PATIENCE_S = 2.0
_LARGE = 500
"""Bytes of the datagram, which is recognized by its size; it fits every MTU."""
_SHOTS = 20
"""Most datagrams to send until all sightings of one have the kernel's time stamps."""
_AT_ONCE = 50
"""Packets after which learned neighbours are flushed: each may need eight of 1,024 entries."""


def node_pairs(plan: Plan) -> Iterator[tuple[Space, Space]]:
    """For each ordered pair of nodes, the first pod of each that has an address."""
    first: dict[str, Space] = {}
    for pod in plan.of_kind(Kind.POD):
        if pod.reached_at:
            first.setdefault(pod.home, pod)
    for source in first.values():
        for target in first.values():
            if source is not target:
                yield source, target


def check_crossings(
    design: Design, topology: Topology, plan: Plan, namespaces: Namespaces
) -> tuple[int, tuple[str, ...]]:
    """Send a packet between every two nodes and compare its sightings with the design's claim.

    Return how many packets were sent, and a line for each that took another path than claimed.
    """
    sent, failures = 0, list[str]()
    addresses = design.lay_out(topology, plan.allocation)
    with Watch(plan, namespaces) as watch:
        for source, target in node_pairs(plan):
            for address in target.reached_at:
                claimed = design.crossing(plan, addresses, source, target, address.version)
                if not claimed:
                    continue
                seen = watch.sightings(source, target, address)
                if sent % _AT_ONCE == 0:
                    forget_learned_in(namespaces.values())
                sent += 1
                if seen not in claimed:
                    failures.append(
                        f"packet {source.name} -> {target.name} {address}: seen on the fabric: {describe(seen)}; "
                        f"expected by {design.name}: {', or '.join(map(describe, claimed))}"
                    )
    return sent, tuple(failures)


def describe(seen: Way) -> str:
    """Sightings as one line."""
    return "; ".join(map(_describe, seen)) or "nothing"


def _describe(one: Sighting) -> str:
    tunnel, around = one.tunnel, ""
    if tunnel:
        port = f" port {tunnel.port}" if tunnel.port else ""
        macs = f" ({tunnel.inner_macs[0]} > {tunnel.inner_macs[1]})" if tunnel.inner_macs else ""
        around = f" in {tunnel.kind}{port} {tunnel.source} > {tunnel.target}{macs}"
    return f"{one.port} of {one.place} {one.direction} {one.source_mac} > {one.target_mac}{around}"


class Watch:
    """Taps in all switches and routers of a lab."""

    def __init__(self, plan: Plan, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._ports = ports_of(plan)
        self._watched = plan.of_kind(Kind.SWITCH, Kind.ROUTER)
        # The bridge device is no port: it sees only frames to the switch itself, and flooded ones.
        self._bridges = {
            (space.name, link.name) for space in self._watched for link in space.links if isinstance(link, Bridge)
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._taps = {space.name: stack.enter_context(tap(self._namespaces[space.name])) for space in self._watched}
            self._stack = stack.pop_all()
        time.sleep(STAMPS_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def sightings(self, source: Space, target: Space, address: Address) -> Way:
        """Send a marked datagram and return where it was seen, in order.

        Repeat while frames were stamped only when read, so that their order is unknown: on a busy machine the kernel
        starts stamping late.
        """
        for _ in range(_SHOTS):
            found, is_in_order = self._shot(source, target, address)
            if is_in_order:
                break
            time.sleep(STAMPS_S)
        return found

    def _shot(self, source: Space, target: Space, address: Address) -> tuple[Way, bool]:
        for own in self._taps.values():
            for _ in frames(own):
                pass  # Discard earlier frames.
        mark = secrets.token_bytes(_LARGE)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with self._namespaces[target.name].entered():
            receiver = socket.socket(family, socket.SOCK_DGRAM)
        with self._namespaces[source.name].entered():
            sender = socket.socket(family, socket.SOCK_DGRAM)
        with receiver, sender:
            # A packet that cannot be sent or received has no sightings, or fewer.
            with suppress(OSError):
                receiver.bind((str(address), WIRE_PORT))
                sender.sendto(mark, (str(address), WIRE_PORT))
                _wait_for(receiver)
            # The packet has arrived, so all its frames on the fabric are already in the taps.
            reading = time.time_ns()
            seen = [(frame.time, place, frame) for place, own in self._taps.items() for frame in frames(own)]
        found = [
            (stamp, one)
            for stamp, place, frame in sorted(seen, key=lambda one: one[0])
            if (place, frame.device) not in self._bridges and (one := sighting(place, frame, mark, self._ports))
        ]
        return tuple(one for _, one in found), all(stamp < reading for stamp, _ in found)


def _wait_for(receiver: socket.socket) -> None:
    """Wait for the datagram or the time limit; sightings show whether it was lost."""
    deadline = time.monotonic() + _PATIENCE_S
    while not select.select([receiver], [], [], max(deadline - time.monotonic(), 0))[0]:
        if time.monotonic() >= deadline:
            return


def sighting(place: str, frame: Frame, mark: bytes, ports: Ports) -> Sighting | None:
    """The sighting in a frame; None if it does not belong to the marked datagram."""
    is_marked = mark in frame.data
    if not is_marked and len(frame.data) <= len(mark):
        return None
    outer = unwrapped(frame.data, ports, mark if is_marked else b"")
    if outer is None or not (is_marked or (outer.tunnels and outer.tunnels[0].is_opaque)):
        return None
    tunnel = outer.tunnels[0] if outer.tunnels else None
    direction = Direction.OUT if frame.out else Direction.IN
    return Sighting(place, frame.device, direction, *outer.macs, tunnel)
