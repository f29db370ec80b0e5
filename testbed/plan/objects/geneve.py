"""Geneve devices."""

import struct
from dataclasses import dataclass

from testbed.plan.messages import attribute
from testbed.plan.objects.link_kind import Attributes, LinkKind, Names

_BIG_ENDIAN_U16 = struct.Struct("!H")
_PORT, _EXTERNAL = 5, 6
"""IFLA_GENEVE_PORT, IFLA_GENEVE_COLLECT_METADATA"""


@dataclass(frozen=True)
class Geneve:
    """An external Geneve device (RFC 8926): routes give the outer header of each packet."""

    name: str
    index: int
    mac: str
    mtu: int
    port: int

    master = None


def _read(_: str, data: Attributes, __: Names) -> str:
    (port,) = _BIG_ENDIAN_U16.unpack(data[_PORT])
    return f"{'external ' if _EXTERNAL in data else ''}Geneve port {port}"


GENEVES = LinkKind(
    type=Geneve,
    names=("geneve",),
    words=lambda link: (
        f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type geneve "
        f"external dstport {link.port}"
    ),
    data=lambda link, _: attribute(_PORT, _BIG_ENDIAN_U16.pack(link.port)) + attribute(_EXTERNAL, b""),
    planned=lambda link: f"external Geneve port {link.port}",
    read=_read,
    is_tunnel=True,
)
