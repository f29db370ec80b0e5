"""What a design claims to be seen on the fabric while a packet goes from a pod to a pod on another node.

A claim is a sequence of sightings at the devices of switches and routers. `testbed.observe.wire` sends a packet and
holds what it really saw against the claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Direction(StrEnum):
    """As the device sees it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True)
class Tunnel:
    """What is around a packet: an outer header between two tunnel ends."""

    kind: str
    """`VXLAN 1`, with the network's number where there is one."""
    source: str
    target: str
    port: int | None = None
    """The UDP port of the target."""
    inner_macs: tuple[str, str] | None = None
    """Source and target of the Ethernet frame inside, if there is one."""
    is_opaque: bool = False
    """Whether what is inside is encrypted."""


@dataclass(frozen=True)
class Sighting:
    """One frame at a device of a switch or router: its MAC addresses, and the tunnels around the pods' packet."""

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
    """The same ways, of a packet that is inside a tunnel."""
    return tuple(tuple(replace(seen, tunnel=tunnel) for seen in way) for way in ways)


def between(ways: Sequence[Way], source_mac: str, target_mac: str) -> tuple[Way, ...]:
    """The same ways, of a frame with these addresses, which nobody routes."""
    return tuple(tuple(replace(seen, source_mac=source_mac, target_mac=target_mac) for seen in way) for way in ways)
