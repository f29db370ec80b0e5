"""What a design claims to be seen on the fabric while a packet goes from a pod to a pod on another node.

A claim is a sequence of sightings at the switch's ports. `testbed.observe.wire` sends a packet and holds what it really
saw against the claim.
"""

from dataclasses import dataclass
from enum import StrEnum

from testbed.spec.topology import SWITCH
from testbed.spec.types import Address


class Direction(StrEnum):
    """As the switch's port sees it."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True)
class VxlanHeader:
    """The outer part of a packet in VXLAN."""

    vni: int
    port: int
    source: Address
    target: Address
    inner_source_mac: str
    inner_target_mac: str


@dataclass(frozen=True)
class Sighting:
    """One frame at one device of a switch or router: its MAC addresses, and the tunnel around the pods' packet, if any."""

    place: str
    """The switch or router."""
    port: str
    direction: Direction
    source_mac: str
    target_mac: str
    tunnel: VxlanHeader | None = None


def through_switch(
    from_port: str, to_port: str, source_mac: str, target_mac: str, tunnel: VxlanHeader | None = None
) -> tuple[Sighting, Sighting]:
    """A frame that enters the switch at one port and leaves, unchanged, at another."""
    return (
        Sighting(SWITCH, from_port, Direction.IN, source_mac, target_mac, tunnel),
        Sighting(SWITCH, to_port, Direction.OUT, source_mac, target_mac, tunnel),
    )
