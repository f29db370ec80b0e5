"""WireGuard devices."""

from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind
from testbed.spec.types import Address, Network


@dataclass(frozen=True)
class WireguardPeer:
    """A peer: its space, its endpoint, and the allowed networks of inner packets."""

    space: str
    endpoint: Address
    allowed: tuple[Network, ...]


@dataclass(frozen=True)
class Wireguard:
    """A WireGuard device. Its key is generated when the lab is built."""

    name: str
    index: int
    mtu: int
    port: int
    peers: tuple[WireguardPeer, ...]
    mark: int = 0
    """The mark of encrypted packets, for routing rules; 0 for none."""

    mac = ""
    master = None


WIREGUARDS = LinkKind(
    type=Wireguard,
    names=("wireguard",),
    words=lambda link: f"link add {link.name} index {link.index} mtu {link.mtu} type wireguard",
    data=lambda *_: b"",
    is_tunnel=True,
)
