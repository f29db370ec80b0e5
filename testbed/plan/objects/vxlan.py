"""VXLAN devices."""

import struct
from dataclasses import dataclass

from testbed.plan.messages import IndexOf, address_in, attribute, number, number_in
from testbed.plan.objects.link_kind import Attributes, LinkKind, Names
from testbed.spec.types import Address

_PORT = struct.Struct("!H")
_ID, _GROUP, _LINK, _LOCAL, _LEARNING, _DSTPORT, _GROUP6, _LOCAL6, _EXTERNAL = 1, 2, 3, 4, 7, 15, 16, 17, 25
"""IFLA_VXLAN_...; the last one is IFLA_VXLAN_COLLECT_METADATA."""


@dataclass(frozen=True)
class Vxlan:
    """A VXLAN device (RFC 7348) between `local` and the remote ends in the forwarding database.

    Without an underlying device `dev`, packets leave by the route to the remote end. Frames to flood are sent to the
    multicast `group`, which is joined on `dev`.

    An `external` device has no VNI and no forwarding entries: routes give the outer header of each packet.
    """

    name: str
    index: int
    mac: str
    mtu: int
    vni: int
    port: int
    local: Address | None
    learning: bool = False
    external: bool = False
    group: Address | None = None
    dev: str = ""
    master: str | None = None


def _data(link: Vxlan, index_of: IndexOf) -> bytes:
    data = attribute(_DSTPORT, _PORT.pack(link.port)) + attribute(_LEARNING, bytes([link.learning]))
    if link.external:
        return data + attribute(_EXTERNAL, b"\1")
    data += number(_ID, link.vni)
    if link.local:
        data += attribute(_LOCAL if link.local.version == 4 else _LOCAL6, link.local.packed)
    if link.group:
        data += attribute(_GROUP if link.group.version == 4 else _GROUP6, link.group.packed)
    if link.dev:
        data += number(_LINK, index_of(link.dev))
    return data


def _words(link: Vxlan) -> str:
    start = f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type vxlan"
    if link.external:
        return f"{start} external dstport {link.port} nolearning"
    group = f" group {link.group}" if link.group else ""
    dev = f" dev {link.dev}" if link.dev else ""
    learning = "learning" if link.learning else "nolearning"
    return f"{start} id {link.vni} dstport {link.port} local {link.local}{group}{dev} {learning}"


def _planned(link: Vxlan) -> str:
    if link.external:
        return f"external VXLAN port {link.port}"
    by = f" by {link.dev}" if link.dev else ""
    return f"VXLAN {link.vni} at {link.local}{by} port {link.port}{' learning' if link.learning else ''}"


def _read(_: str, data: Attributes, names: Names) -> str:
    (port,) = _PORT.unpack(data[_DSTPORT])
    if _EXTERNAL in data and data[_EXTERNAL][0]:
        return f"external VXLAN port {port}"
    local = next((address_in(data[at]) for at in (_LOCAL, _LOCAL6) if at in data), "")
    below = number_in(data[_LINK]) if _LINK in data else 0
    by = f" by {names.get(below, below)}" if below else ""
    learning = " learning" if data[_LEARNING][0] else ""
    return f"VXLAN {number_in(data[_ID])} at {local}{by} port {port}{learning}"


VXLANS = LinkKind(
    type=Vxlan,
    names=("vxlan",),
    words=_words,
    data=_data,
    planned=_planned,
    read=_read,
    needs_cables=lambda link: bool(link.dev),
    is_tunnel=True,
)
