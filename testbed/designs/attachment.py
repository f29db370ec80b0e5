"""The interface of attachments: how a pod is attached to its node."""

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
    """Pods of all nodes are on one Ethernet; each node has a bridge of it."""
    FABRIC_FRAMES = "frames on the fabric"
    """Pods are on the fabric's Ethernet; their frames bypass the node's stack."""
    FABRIC_PACKETS = "packets on the fabric"
    """The node routes its pods' packets, but only to its device on the fabric."""


@dataclass(frozen=True)
class Uplink:
    """Where a node has its own address if pods share its device on the fabric."""

    node_device: str = UPLINK
    """The device that has the node's address."""
    master: str | None = None
    """The bridge that the node's `eth0` is a port of."""


@dataclass(frozen=True)
class Attachment:
    """How pods are attached to their node."""

    name: str
    summary: str
    """One line."""
    like: tuple[str, ...]
    """Real networks that attach pods in this way."""
    needs: tuple[str, ...]
    """Names of kernel features, see `testbed.kernel.features`."""
    delivers: Delivers
    attach: Callable[[Draft, Layout, int, bool], None]
    """Adds the pods of the draft's `nodes`. Arguments: draft, layout, MTU of the pods, whether pods are on the fabric's
    Ethernet. The layout has no pods unless the transport or the agent depends on them."""
    on_fabric: Uplink = Uplink()
    """Where the node has its own address if pods are on the fabric's Ethernet."""
    has_own_macs: bool = False
    """Whether frames on the fabric's Ethernet have the pods' own MAC addresses."""
    page: str = ""
    """Documentation, shown by `testbed designs`."""
