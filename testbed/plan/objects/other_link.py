"""Devices that only CNI plugins create."""

from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind


@dataclass(frozen=True)
class OtherLink:
    """A device that a CNI plugin created, of a kind that designs do not use: an ifb, a VLAN, a dummy."""

    name: str
    index: int
    mac: str
    mtu: int
    kind: str
    """The kind in `ip link`; empty if the kernel reports none."""
    master: str | None = None


OTHER_LINKS = LinkKind(
    type=OtherLink,
    names=(),
    words=lambda link: f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type {link.kind}",
    name=lambda link: link.kind,
)
