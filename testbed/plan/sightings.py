"""What a design claims that the fabric sees of a packet between pods on different nodes.

A claim is a sequence of sightings at devices of switches and routers. `testbed.observe.wire` sends a packet and
compares its actual sightings with the claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Direction(StrEnum):
    """The direction, from the device's view."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True)
class Tunnel:
    """The encapsulation of a packet: an outer header between two tunnel ends."""

    kind: str
    """`VXLAN 1`, with the network identifier if there is one."""
    source: str
    target: str
    port: int | None = None
    """The UDP port of the target."""
    inner_macs: tuple[str, str] | None = None
    """Source and target of the inner Ethernet frame, if there is one."""
    is_opaque: bool = False
    """Whether the inner packet is encrypted."""


@dataclass(frozen=True)
class Sighting:
    """One frame at a device of a switch or router: its MAC addresses, and the tunnel around the pods' packet."""

    place: str
    """The switch or router."""
    port: str
    direction: Direction
    source_mac: str
    target_mac: str
    tunnel: Tunnel | None = None


Way = tuple[Sighting, ...]
"""All sightings of a packet, in order."""


def inside(ways: Sequence[Way], tunnel: Tunnel | None) -> tuple[Way, ...]:
    """The same ways for a packet inside a tunnel."""
    return tuple(tuple(replace(seen, tunnel=tunnel) for seen in way) for way in ways)


def between(ways: Sequence[Way], source_mac: str, target_mac: str) -> tuple[Way, ...]:
    """The same ways for a frame with these addresses, which is switched, not routed."""
    return tuple(tuple(replace(seen, source_mac=source_mac, target_mac=target_mac) for seen in way) for way in ways)
