"""Devices that only CNI plugins make."""

from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind


@dataclass(frozen=True)
class OtherLink:
    """A device of a kind that no design makes, but a CNI plugin did: an ifb, a VLAN, a dummy."""

    name: str
    index: int
    mac: str
    mtu: int
    kind: str
    """As `ip link` calls it; empty where the kernel names none."""
    master: str | None = None


OTHER_LINKS = LinkKind(
    type=OtherLink,
    names=(),
    words=lambda link: f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type {link.kind}",
    name=lambda link: link.kind,
)
