"""What an attachment is: how a pod hangs on its node."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from testbed.plan.addressing import Layout
from testbed.plan.draft import Draft
from testbed.plan.fabric import UPLINK


class Delivers(StrEnum):
    """What an attachment delivers to the transport."""

    PACKETS = "packets"
    """The node routes its pods' packets."""
    FRAMES = "frames"
    """Pods of all nodes are on one Ethernet, of which each node has a bridge."""
    FABRIC_FRAMES = "frames on the fabric"
    """Pods are on the fabric's own Ethernet, past their node."""
    FABRIC_PACKETS = "packets on the fabric"
    """The node routes its pods' packets, but to its device on the fabric alone."""


@dataclass(frozen=True)
class Uplink:
    """Where a node's own address is, if pods share its device on the fabric."""

    node_device: str = UPLINK
    """The device that has the node's address."""
    master: str | None = None
    """The bridge that the node's `eth0` is a port of."""


@dataclass(frozen=True)
class Attachment:
    """How pods hang on their node."""

    name: str
    summary: str
    """One line."""
    like: tuple[str, ...]
    """Who does it so in real clusters."""
    needs: tuple[str, ...]
    """Names of kernel features, see `testbed.kernel.features`."""
    delivers: Delivers
    attach: Callable[[Draft, Layout, int, bool], None]
    """Adds `pods` of the draft's `nodes`, whose MTU is given; and whether they are to be on the fabric's own Ethernet.
    The layout has no pods unless the transport or the agent knows them."""
    on_fabric: Uplink = Uplink()
    """Where the node's own address is if pods are on the fabric's own Ethernet."""
    has_own_macs: bool = False
    """Whether frames on the fabric's Ethernet have the pods' own MAC addresses."""
    page: str = ""
    """All that there is to say of it."""
