"""IP tunnels without inner Ethernet: IP in IP and GRE."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.plan.messages import IndexOf, address_in, attribute, number
from testbed.plan.objects.link_kind import Attributes, LinkKind, Names
from testbed.spec.types import Address

_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS, _IPTUN_PROTO = 2, 3, 8, 9
"""IFLA_IPTUN_..."""
_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS = 6, 7, 13
"""IFLA_GRE_..."""
_NO_ENCAP_LIMIT = 1


class TunnelKind(StrEnum):
    """IP tunnels without inner Ethernet, by the kernel's names."""

    IPIP = "ipip"
    IP6TNL = "ip6tnl"
    GRE = "gre"
    IP6GRE = "ip6gre"


@dataclass(frozen=True)
class IpTunnel:
    """IP in IP (RFC 2003, RFC 2473) or GRE (RFC 2784). Without `remote` the next hop of a route is the other end.

    Without `local` it is the kernel's fallback device, such as `tunl0`, which exists already; the kernel chooses its
    index.
    """

    name: str
    index: int
    mtu: int
    kind: TunnelKind
    local: Address | None
    remote: Address | None = None

    mac = ""
    master = None


_GRE = (TunnelKind.GRE, TunnelKind.IP6GRE)


def _data(link: IpTunnel, _: IndexOf) -> bytes:
    assert link.local
    local, remote, flags = (
        (_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS) if link.kind in _GRE else (_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS)
    )
    data = attribute(local, link.local.packed)
    if link.remote:
        data += attribute(remote, link.remote.packed)
    if link.local.version == 6:
        data += number(flags, _NO_ENCAP_LIMIT)
    if link.kind is TunnelKind.IP6TNL:
        data += attribute(_IPTUN_PROTO, b"\0")  # Inner packets of either family.
    return data


def _words(link: IpTunnel) -> str:
    if not link.local:
        return f"link set {link.name} mtu {link.mtu}"
    remote = link.remote or ("any" if link.local.version == 4 else "::")
    mode = " mode any" if link.kind is TunnelKind.IP6TNL else ""
    # By default each packet has a destination option that limits nesting (RFC 2473).
    limit = " encaplimit none" if link.local.version == 6 else ""
    return (
        f"link add {link.name} index {link.index} mtu {link.mtu} type {link.kind}{mode} local {link.local} "
        f"remote {remote}{limit}"
    )


def _describe_ends(local: Address | None, remote: Address | None) -> str:
    ends = ("any" if end is None or end.is_unspecified else end for end in (local, remote))
    return "a tunnel from {} to {}".format(*ends)


def _read(kind: str, data: Attributes, _: Names) -> str:
    at = (_GRE_LOCAL, _GRE_REMOTE) if kind in _GRE else (_IPTUN_LOCAL, _IPTUN_REMOTE)
    return _describe_ends(*(address_in(data[each]) if each in data else None for each in at))


IP_TUNNELS = LinkKind(
    type=IpTunnel,
    names=tuple(TunnelKind),
    words=_words,
    data=_data,
    name=lambda link: link.kind.value,
    planned=lambda link: _describe_ends(link.local, link.remote),
    read=_read,
    is_kernels_own=lambda link: not link.local,
    is_tunnel=True,
)
