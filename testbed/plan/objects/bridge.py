"""Linux bridges."""

from dataclasses import dataclass

from testbed.plan.messages import number
from testbed.plan.objects.link_kind import LinkKind

_FORWARD_DELAY, _STP_STATE = 1, 5
"""IFLA_BR_..."""


@dataclass(frozen=True)
class Bridge:
    """A Linux bridge without spanning tree, so that a port forwards as soon as it is up."""

    name: str
    index: int
    mac: str
    mtu: int
    promiscuous: bool = False
    """Whether the bridge also receives every frame itself; frames that it forwards are then copies."""
    checksums: bool = True
    """Whether the space itself may send packets with partial checksums; if not, segmentation offload is off too."""

    master = None


BRIDGES = LinkKind(
    type=Bridge,
    names=("bridge",),
    words=lambda link: (
        f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type bridge "
        "stp_state 0 forward_delay 0"
    ),
    data=lambda *_: number(_STP_STATE, 0) + number(_FORWARD_DELAY, 0),
)
