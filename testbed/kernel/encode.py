"""From the kernel objects of a plan to netlink requests: one function for each kind of object.

The messages are packed here, byte for byte as linux/rtnetlink.h and its like describe them, and not by pyroute2, which
took longer for it than the kernel takes to carry them out (a profile of 512 pods: 0.8 s of 1.4). The tests hold them
against pyroute2's.
"""

import socket
import struct
from functools import partial

from testbed.kernel.netlink import CHANGE, CREATE, Request
from testbed.kernel.uapi import (
    IFA_F_NODAD,
    IFF_UP,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTNH_F_ONLINK,
    TC_H_ROOT,
)
from testbed.plan.objects import (
    Bridge,
    DeviceAddress,
    FdbEntry,
    Link,
    Neighbour,
    Route,
    TokenBucket,
    VethEnd,
    Vxlan,
)
from testbed.spec.types import Address, Interface, Network

LOOPBACK = 1
"""Index of `lo` in every namespace."""

_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, mask of flags."""
_ADDRESS = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, length of the prefix, flags, scope, index."""
_NEIGHBOUR = struct.Struct("=BxHiHBB")
"""struct ndmsg: family, index, state, flags, type."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source, type of service, table, protocol, scope, type, flags."""
_QDISC = struct.Struct("=BxHiIII")
"""struct tcmsg: family, index, handle, parent, info."""
_TOKEN_BUCKET = struct.Struct("=xBHhHI12xIII")
"""struct tc_tbf_qopt: of the rate link layer, overhead, alignment, smallest packet and bytes a second; no peak rate;
limit, buffer, mtu."""
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_PORT = struct.Struct("!H")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""By length modulo 4."""

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_BRIDGE_FORWARD_DELAY, _BRIDGE_STP_STATE = 1, 5
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 15, 17
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_MAIN_TABLE, _PROTOCOL_BOOT, _SCOPE_LINK, _SCOPE_UNIVERSE, _UNICAST = 254, 3, 253, 0, 1
_TCA_KIND, _TCA_OPTIONS, _TBF_PARAMETERS = 1, 2, 1
_LINKLAYER_ETHERNET = 1
NS_PER_TICK = 64
"""Of the packet scheduler's clock, PSCHED_SHIFT in the kernel."""

_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


def family(of: Address | Interface | Network) -> int:
    """AF_INET or AF_INET6."""
    return _FAMILY[of.version]


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + _PADDING[len(value) & 3]


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, _U32.pack(value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _mac(kind: int, value: str) -> bytes:
    return _attribute(kind, bytes.fromhex(value.replace(":", "")))


def link_up(index: int, master: int | None = None) -> Request:
    """Sets a device up, as a port of a bridge if `master` is its index."""
    attributes = b"" if master is None else _number(_IFLA_MASTER, master)
    body = _LINK.pack(0, 0, index, IFF_UP, IFF_UP) + attributes
    return Request(RTM_NEWLINK, CHANGE, body, partial(_link_up_command, index, master))


def _link_up_command(index: int, master: int | None) -> str:
    return f"ip link set {index}{'' if master is None else f' master {master}'} up"


def new_link(link: Link) -> Request:
    match link:
        case Bridge():
            kind = "bridge"
            data = _number(_BRIDGE_STP_STATE, 0) + _number(_BRIDGE_FORWARD_DELAY, 0)
        case Vxlan():
            kind, data = "vxlan", _vxlan(link)
    info = _text(_INFO_KIND, kind) + _attribute(_INFO_DATA, data)
    body = _LINK.pack(0, 0, link.index, IFF_UP, IFF_UP) + _device(link) + _attribute(_IFLA_LINKINFO, info)
    return Request(RTM_NEWLINK, CREATE, body, lambda: f"ip link add {link.name} type {kind}")


def _device(device: Link | VethEnd) -> bytes:
    return _text(_IFLA_IFNAME, device.name) + _mac(_IFLA_ADDRESS, device.mac) + _number(_IFLA_MTU, device.mtu)


def _vxlan(link: Vxlan) -> bytes:
    return (
        _number(_VXLAN_ID, link.vni)
        + _attribute(_VXLAN_PORT, _PORT.pack(link.port))
        + _attribute(_VXLAN_LOCAL if link.local.version == 4 else _VXLAN_LOCAL6, link.local.packed)
        + _attribute(_VXLAN_LEARNING, bytes([link.learning]))
    )


def new_veth(here: VethEnd, there: VethEnd, there_fd: int, master: int | None) -> Request:
    """A veth pair with one end in the calling thread's namespace, the other where `there_fd` says.

    The end here is set up, as a port of the bridge with the index `master` if there is one.
    """
    peer = _LINK.pack(0, 0, there.index, 0, 0) + _device(there) + _number(_IFLA_NET_NS_FD, there_fd)
    info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, peer))
    body = _LINK.pack(0, 0, here.index, IFF_UP, IFF_UP) + _device(here) + _attribute(_IFLA_LINKINFO, info)
    if master is not None:
        body += _number(_IFLA_MASTER, master)
    return Request(RTM_NEWLINK, CREATE, body, partial(_new_veth_command, here, there))


def _new_veth_command(here: VethEnd, there: VethEnd) -> str:
    return f"ip link add {here.name} type veth peer name {there.name} netns {there.space}"


def new_address(item: DeviceAddress, index: int) -> Request:
    interface = item.interface
    # Addresses are unique by plan: to look for duplicates would only delay them.
    flags = IFA_F_NODAD if interface.version == 6 else 0
    prefix = interface.network.prefixlen
    address = interface.packed
    body = (
        _ADDRESS.pack(family(interface), prefix, flags, 0, index)
        + _attribute(_IFA_LOCAL, address)
        + _attribute(_IFA_ADDRESS, address)
    )
    return Request(RTM_NEWADDR, CREATE, body, lambda: f"ip address add {interface} dev {item.dev}")


def new_token_bucket(item: TokenBucket, index: int) -> Request:
    per_second = item.rate // 8
    buffer = -(-item.burst * 1_000_000_000 // per_second // NS_PER_TICK)
    # Without a link layer the kernel wants a table of times by packet size.
    parameters = _TOKEN_BUCKET.pack(_LINKLAYER_ETHERNET, 0, 0, 0, per_second, item.limit, buffer, 0)
    options = _attribute(_TBF_PARAMETERS, parameters)
    body = _QDISC.pack(0, 0, index, 0, TC_H_ROOT, 0) + _text(_TCA_KIND, "tbf") + _attribute(_TCA_OPTIONS, options)
    return Request(
        RTM_NEWQDISC,
        CREATE,
        body,
        lambda: f"tc qdisc add dev {item.dev} root tbf rate {item.rate}bit burst {item.burst} limit {item.limit}",
    )


def new_neighbour(item: Neighbour, index: int) -> Request:
    body = (
        _NEIGHBOUR.pack(family(item.address), 0, index, NUD_PERMANENT, 0, 0)
        + _attribute(_NDA_DST, item.address.packed)
        + _mac(_NDA_LLADDR, item.mac)
    )
    return Request(
        RTM_NEWNEIGH, CREATE, body, lambda: f"ip neighbour add {item.address} lladdr {item.mac} dev {item.dev}"
    )


def new_fdb_entry(item: FdbEntry, index: int) -> Request:
    body = (
        _NEIGHBOUR.pack(socket.AF_BRIDGE, 0, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF, 0)
        + _mac(_NDA_LLADDR, item.mac)
        + _attribute(_NDA_DST, item.remote.packed)
    )
    return Request(RTM_NEWNEIGH, CREATE, body, lambda: f"bridge fdb add {item.mac} dev {item.dev} dst {item.remote}")


def new_route(item: Route, index: int) -> Request:
    to, via = item.to, item.via
    # As `ip route add` does: a destination without a next hop is on the link (IPv6 knows no such scope).
    scope = _SCOPE_LINK if via is None and to.version == 4 else _SCOPE_UNIVERSE
    flags = RTNH_F_ONLINK if item.onlink else 0
    body = _ROUTE.pack(family(to), to.prefixlen, 0, 0, _MAIN_TABLE, _PROTOCOL_BOOT, scope, _UNICAST, flags) + _number(
        _RTA_OIF, index
    )
    if to.prefixlen:
        body += _attribute(_RTA_DST, to.network_address.packed)
    if via is not None:
        body += _attribute(_RTA_GATEWAY, via.packed)
    return Request(
        RTM_NEWROUTE, CREATE, body, lambda: f"ip route add {to}{f' via {via}' if via else ''} dev {item.dev}"
    )
