"""Tun devices."""

from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind


@dataclass(frozen=True)
class Tun:
    """A tun device: a program reads and writes its packets."""

    name: str
    index: int
    mtu: int

    mac = ""
    master = None


TUNS = LinkKind(
    type=Tun,
    names=("tun",),
    words=lambda link: f"tuntap add {link.name} mode tun",
    is_tunnel=True,
)
