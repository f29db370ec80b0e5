"""WireGuard devices."""

from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind
from testbed.spec.types import Address, Network


@dataclass(frozen=True)
class WireguardPeer:
    """Another end: in which space, where it listens, and what may come from it and go to it."""

    space: str
    endpoint: Address
    allowed: tuple[Network, ...]


@dataclass(frozen=True)
class Wireguard:
    """A WireGuard device. Its key is made when the lab is."""

    name: str
    index: int
    mtu: int
    port: int
    peers: tuple[WireguardPeer, ...]
    mark: int = 0
    """Of the packets that it has encrypted, for rules to know them by; 0 if they have none."""

    mac = ""
    master = None


WIREGUARDS = LinkKind(
    type=Wireguard,
    names=("wireguard",),
    words=lambda link: f"link add {link.name} index {link.index} mtu {link.mtu} type wireguard",
    data=lambda *_: b"",
    is_tunnel=True,
)
