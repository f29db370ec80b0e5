"""From the kernel objects of a plan to netlink requests: one function for each kind of object.

The messages are packed here, byte for byte as linux/rtnetlink.h and its like describe them, and not by pyroute2, which
took longer for it than the kernel takes to carry them out (a profile of 512 pods: 0.8 s of 1.4). The tests hold them
against pyroute2's.
"""

import socket
import struct
from collections.abc import Callable
from functools import partial

from testbed.kernel.netlink import APPEND, CHANGE, CREATE, Request
from testbed.kernel.uapi import (
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    NTF_SELF,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_NEWTFILTER,
    RTNH_F_ONLINK,
    TC_H_CLSACT,
    TC_H_MIN_EGRESS,
    TC_H_MIN_INGRESS,
    TC_H_ROOT,
)
from testbed.plan.objects import (
    BpfHook,
    Bridge,
    Child,
    Datapath,
    Device,
    DeviceAddress,
    Encapsulation,
    FdbEntry,
    Geneve,
    IpTunnel,
    Link,
    Neighbour,
    Netem,
    OtherLink,
    Route,
    RoutingRule,
    SegmentEnd,
    Segments,
    TokenBucket,
    Tun,
    TunnelKey,
    TunnelKind,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)
from testbed.plan.shell import (
    FLOODED,
    OUTER_TTL,
    child_commands,
    clsact_words,
    hook_words,
    link_words,
    netem_words,
    route_words,
    rule_words,
    veth_commands,
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
_NETEM = struct.Struct("=IIIIII")
"""struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter; the two times follow as attributes."""
_NEXT_HOP = struct.Struct("=HBxi")
"""struct rtnexthop: length, flags, index."""
_SEGMENT_HEADER = struct.Struct("=iBBBBBBH")
"""struct seg6_iptunnel_encap: mode; and of the routing header next header, length, type, segments left, the first one,
flags, tag."""
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_U16 = struct.Struct("=H")
_PORT = struct.Struct("!H")
_KEY = struct.Struct("!Q")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
"""By length modulo 4."""

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = (
    1,
    3,
    4,
    5,
    10,
    18,
    28,
)
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_NETKIT_PEER, _NETKIT_MODE, _NETKIT_L3 = 1, 5, 1
_MACVLAN_MODE, _IPVLAN_MODE = 1, 1
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
"""By the names that `ip link` has for them."""
_BRIDGE_FORWARD_DELAY, _BRIDGE_STP_STATE = 1, 5
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 2, 3, 4, 7, 15
_VXLAN_GROUP6, _VXLAN_LOCAL6, _VXLAN_EXTERNAL = 16, 17, 25
_GENEVE_PORT, _GENEVE_EXTERNAL = 5, 6
_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS, _IPTUN_PROTO = 2, 3, 8, 9
_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS = 6, 7, 13
_NO_ENCAP_LIMIT = 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_NDA_DST, _NDA_LLADDR = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_ENCAP_TYPE, _RTA_ENCAP = 1, 4, 5, 7, 9, 21, 22
_RTA_TABLE = 15
_FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 2, 6, 10, 15, 16
_RULE_TO_TABLE, _RULE_INVERTED = 1, 2
_NESTED = 0x8000
_LWTUNNEL_IP, _LWTUNNEL_IP6, _LWTUNNEL_SEG6, _LWTUNNEL_SEG6_LOCAL = 2, 4, 5, 7
_LWTUNNEL_IP_ID, _LWTUNNEL_IP_DST, _LWTUNNEL_IP_SRC, _LWTUNNEL_IP_TTL, _LWTUNNEL_IP_FLAGS, _CHECKSUM = 1, 2, 3, 4, 6, 1
_SEG6_SRH, _SEG6_ENCAP, _ROUTING_TYPE_SEGMENTS = 1, 1, 4
_SEG6_LOCAL_ACTION, _SEG6_LOCAL_NH4, _SEG6_LOCAL_NH6 = 1, 4, 5
_SEG6_ACTIONS = {"End.DX6": 5, "End.DX4": 6}
_SCOPE_LINK, _SCOPE_UNIVERSE, _UNICAST, _BLACKHOLE = 253, 0, 1, 6
_NETEM_REORDER, _NETEM_LATENCY64, _NETEM_JITTER64 = 3, 10, 11
_TCA_KIND, _TCA_OPTIONS, _TBF_PARAMETERS = 1, 2, 1
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_DIRECT, _ETH_P_ALL = 6, 7, 8, 1, 3
_LINKLAYER_ETHERNET = 1
NS_PER_TICK = 64
"""Of the packet scheduler's clock, PSCHED_SHIFT in the kernel."""

_CLSACT = TC_H_CLSACT & 0xFFFF0000
CLSACT_WAYS = {"ingress": _CLSACT | TC_H_MIN_INGRESS, "egress": _CLSACT | TC_H_MIN_EGRESS}
"""A device's ways in and out, as filters name them."""

_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class NotByNetlink(ValueError):
    """Devices of this kind are made otherwise: by ioctl, by a program, or by a CNI plugin."""


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


def link_up(index: int, master: int | None = None, arp: bool = True) -> Request:
    """Sets a device up, as a port of a bridge if `master` is its index; one without ARP asks for no MAC addresses."""
    attributes = b"" if master is None else _number(_IFLA_MASTER, master)
    flags = IFF_UP if arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, index, flags, flags) + attributes
    return Request(RTM_NEWLINK, CHANGE, body, partial(_link_up_command, index, master))


def _link_up_command(index: int, master: int | None) -> str:
    return f"ip link set {index}{'' if master is None else f' master {master}'} up"


def new_link(link: Link, index_of: Callable[[str], int] | None = None) -> Request:
    """A device of a namespace, set up. `index_of` tells the numbers of others there, where it needs one.

    Raises NotByNetlink.
    """
    if isinstance(link, IpTunnel) and not link.local:
        body = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + _device(link)
        return Request(RTM_NEWLINK, CHANGE, body, lambda: f"ip {link_words(link)} up")
    match link:
        case Bridge():
            kind = "bridge"
            data = _number(_BRIDGE_STP_STATE, 0) + _number(_BRIDGE_FORWARD_DELAY, 0)
        case Vxlan():
            kind, data = "vxlan", _vxlan(link, index_of)
        case Geneve():
            kind, data = "geneve", _attribute(_GENEVE_PORT, _PORT.pack(link.port)) + _attribute(_GENEVE_EXTERNAL, b"")
        case IpTunnel():
            kind, data = link.kind.value, _ip_tunnel(link)
        case Wireguard():
            kind, data = "wireguard", b""
        case Tun() | OtherLink() | Datapath():
            raise NotByNetlink(f"{link.name}: a device of the kind {type(link).__name__} is not made by netlink")
    info = _text(_INFO_KIND, kind) + _attribute(_INFO_DATA, data)
    flags = IFF_UP | IFF_PROMISC if isinstance(link, Bridge) and link.promiscuous else IFF_UP
    body = _LINK.pack(0, 0, link.index, flags, flags) + _device(link) + _attribute(_IFLA_LINKINFO, info)
    if link.master is not None:
        assert index_of
        body += _number(_IFLA_MASTER, index_of(link.master))
    return Request(RTM_NEWLINK, CREATE, body, lambda: f"ip {link_words(link)}")


def _device(device: Device) -> bytes:
    mac = _mac(_IFLA_ADDRESS, device.mac) if device.mac else b""
    return _text(_IFLA_IFNAME, device.name) + mac + _number(_IFLA_MTU, device.mtu)


def _vxlan(link: Vxlan, index_of: Callable[[str], int] | None) -> bytes:
    data = _attribute(_VXLAN_PORT, _PORT.pack(link.port)) + _attribute(_VXLAN_LEARNING, bytes([link.learning]))
    if link.external:
        return data + _attribute(_VXLAN_EXTERNAL, b"\1")
    data += _number(_VXLAN_ID, link.vni)
    if link.local:
        data += _attribute(_VXLAN_LOCAL if link.local.version == 4 else _VXLAN_LOCAL6, link.local.packed)
    if link.group:
        data += _attribute(_VXLAN_GROUP if link.group.version == 4 else _VXLAN_GROUP6, link.group.packed)
    if link.dev:
        assert index_of
        data += _number(_VXLAN_LINK, index_of(link.dev))
    return data


def _ip_tunnel(link: IpTunnel) -> bytes:
    assert link.local
    is_gre = link.kind in (TunnelKind.GRE, TunnelKind.IP6GRE)
    local, remote, flags = (
        (_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS) if is_gre else (_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS)
    )
    data = _attribute(local, link.local.packed)
    if link.remote:
        data += _attribute(remote, link.remote.packed)
    if link.local.version == 6:
        data += _number(flags, _NO_ENCAP_LIMIT)
    if link.kind is TunnelKind.IP6TNL:
        data += _attribute(_IPTUN_PROTO, b"\0")  # Of either family.
    return data


def new_child(child: Child, parent: int, there_fd: int) -> Request:
    """A device that shares the one with the number `parent`, in the namespace `there_fd`."""
    if child.kind == "macvlan":
        data = _number(_MACVLAN_MODE, _MACVLAN_MODES[child.mode])
    else:
        data = _attribute(_IPVLAN_MODE, _U16.pack(IPVLAN_MODES[child.mode]))
    info = _text(_INFO_KIND, child.kind) + _attribute(_INFO_DATA, data)
    body = (
        _LINK.pack(0, 0, child.index, 0, 0)
        + _device(child)
        + _number(_IFLA_LINK, parent)
        + _number(_IFLA_NET_NS_FD, there_fd)
        + _attribute(_IFLA_LINKINFO, info)
    )
    return Request(RTM_NEWLINK, CREATE, body, lambda: next(child_commands(child)))


def new_veth(here: VethEnd, there: VethEnd, there_fd: int, master: int | None, is_netkit: bool = False) -> Request:
    """A veth (or netkit) pair with one end in the calling thread's namespace, the other where `there_fd` says.

    The end here is set up, as a port of the bridge with the index `master` if there is one.
    """
    peer = _LINK.pack(0, 0, there.index, 0, 0) + _device(there) + _number(_IFLA_NET_NS_FD, there_fd)
    if is_netkit:
        data = _number(_NETKIT_MODE, _NETKIT_L3) + _attribute(_NETKIT_PEER, peer)
        info = _text(_INFO_KIND, "netkit") + _attribute(_INFO_DATA, data)
    else:
        info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, peer))
    flags = IFF_UP if here.arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, here.index, flags, flags) + _device(here) + _attribute(_IFLA_LINKINFO, info)
    if master is not None:
        body += _number(_IFLA_MASTER, master)
    return Request(RTM_NEWLINK, CREATE, body, partial(_new_veth_command, here, there, is_netkit))


def _new_veth_command(here: VethEnd, there: VethEnd, is_netkit: bool) -> str:
    return next(veth_commands(Veth(here, there, is_netkit)))


def new_address(item: DeviceAddress, index: int) -> Request:
    interface = item.interface
    # Addresses are unique by plan: to look for duplicates would only delay them.
    flags = IFA_F_NODAD if interface.version == 6 else 0
    more = _number(_IFA_FLAGS, flags | IFA_F_NOPREFIXROUTE) if item.noprefixroute else b""
    prefix = interface.network.prefixlen
    address = interface.packed
    body = (
        _ADDRESS.pack(family(interface), prefix, flags, 0, index)
        + _attribute(_IFA_LOCAL, address)
        + _attribute(_IFA_ADDRESS, address)
        + more
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
    how = APPEND if item.mac == FLOODED else CREATE  # Of those for frames that are flooded there may be several.
    return Request(RTM_NEWNEIGH, how, body, lambda: f"bridge fdb add {item.mac} dev {item.dev} dst {item.remote}")


def new_route(item: Route, index_of: Callable[[str], int]) -> Request:
    """A route; `index_of` tells the numbers of devices."""
    scope = _SCOPE_UNIVERSE if item.via or item.nexthops or item.blackhole or item.to.version == 6 else _SCOPE_LINK
    kind = _BLACKHOLE if item.blackhole else _UNICAST
    flags = RTNH_F_ONLINK if item.onlink else 0
    body = _ROUTE.pack(family(item.to), item.to.prefixlen, 0, 0, item.table & 0xFF, item.protocol, scope, kind, flags)
    if item.to.prefixlen:
        body += _attribute(_RTA_DST, item.to.network_address.packed)
    if item.encap:
        body += _encapsulation(item.encap)
    if item.nexthops:
        hops = b"".join(_next_hop(hop.via, index_of(hop.dev)) for hop in item.nexthops)
        body += _attribute(_RTA_MULTIPATH, hops)
    if item.dev:
        body += _number(_RTA_OIF, index_of(item.dev))
    if item.via:
        body += _attribute(_RTA_GATEWAY, item.via.packed)
    if item.source:
        body += _attribute(_RTA_PREFSRC, item.source.packed)
    if item.table > 0xFF:
        body += _number(_RTA_TABLE, item.table)
    return Request(RTM_NEWROUTE, CREATE, body, lambda: f"ip {route_words(item).partition(' ')[2]}")


def new_clsact(dev: str, index: int) -> Request:
    """What a device needs before it can have programs on its ways in and out."""
    body = _QDISC.pack(0, 0, index, _CLSACT, TC_H_CLSACT, 0) + _text(_TCA_KIND, "clsact")
    return Request(RTM_NEWQDISC, CREATE, body, lambda: f"tc {clsact_words(dev)}")


def new_filter(item: BpfHook, index: int, program: int) -> Request:
    """A program, of which a descriptor is given, on a device's way in or out."""
    options = _number(_BPF_FD, program) + _text(_BPF_NAME, item.program) + _number(_BPF_FLAGS, _BPF_DIRECT)
    body = _QDISC.pack(0, 0, index, 1, CLSACT_WAYS[item.where], 1 << 16 | socket.htons(_ETH_P_ALL))
    body += _text(_TCA_KIND, "bpf") + _attribute(_TCA_OPTIONS, options)
    return Request(RTM_NEWTFILTER, CREATE, body, lambda: f"tc {hook_words(item)}")


def no_rule(item: RoutingRule) -> Request:
    """The end of a rule."""
    return new_rule(item)._replace(
        kind=RTM_DELRULE, flags=CHANGE, command=lambda: f"ip {rule_words(item, 'del').partition(' ')[2]}"
    )


def new_rule(item: RoutingRule) -> Request:
    """A rule that says which packets are routed by a table."""
    flags = _RULE_INVERTED if item.inverted else 0
    length = item.source.prefixlen if item.source else 0
    body = _ROUTE.pack(_FAMILY[item.family], 0, length, 0, item.table & 0xFF, 0, 0, _RULE_TO_TABLE, flags)
    body += _number(_FRA_PRIORITY, item.priority) + _number(_FRA_TABLE, item.table)
    if item.source:
        body += _attribute(_FRA_SRC, item.source.network_address.packed)
    if item.mask:
        body += _number(_FRA_FWMARK, item.mark) + _number(_FRA_FWMASK, item.mask)
    return Request(RTM_NEWRULE, CREATE, body, lambda: f"ip {rule_words(item).partition(' ')[2]}")


def _next_hop(via: Address, index: int) -> bytes:
    gateway = _attribute(_RTA_GATEWAY, via.packed)
    return _NEXT_HOP.pack(_NEXT_HOP.size + len(gateway), 0, index) + gateway


def _encapsulation(encap: Encapsulation) -> bytes:
    match encap:
        case TunnelKey():
            kind = _LWTUNNEL_IP if encap.target.version == 4 else _LWTUNNEL_IP6
            data = _attribute(_LWTUNNEL_IP_ID, _KEY.pack(encap.number))
            data += _attribute(_LWTUNNEL_IP_DST, encap.target.packed)
            data += _attribute(_LWTUNNEL_IP_SRC, encap.source.packed)
            data += _attribute(_LWTUNNEL_IP_TTL, bytes([OUTER_TTL]))
            if encap.target.version == 6:
                data += _attribute(_LWTUNNEL_IP_FLAGS, _PORT.pack(_CHECKSUM))
        case Segments():
            kind = _LWTUNNEL_SEG6
            last = len(encap.segments) - 1
            header = _SEGMENT_HEADER.pack(
                _SEG6_ENCAP, 0, 2 * len(encap.segments), _ROUTING_TYPE_SEGMENTS, last, last, 0, 0
            )
            data = _attribute(_SEG6_SRH, header + b"".join(segment.packed for segment in reversed(encap.segments)))
        case SegmentEnd():
            kind = _LWTUNNEL_SEG6_LOCAL
            hop, nowhere = (_SEG6_LOCAL_NH4, bytes(4)) if encap.action == "End.DX4" else (_SEG6_LOCAL_NH6, bytes(16))
            data = _number(_SEG6_LOCAL_ACTION, _SEG6_ACTIONS[encap.action]) + _attribute(hop, nowhere)
    return _attribute(_RTA_ENCAP_TYPE, _U16.pack(kind)) + _attribute(_RTA_ENCAP | _NESTED, data)


def new_netem(item: Netem, index: int) -> Request:
    """Latency and jitter in nanoseconds; shares of one as parts of 2**32."""
    loss, duplicate, reorder = (round(share * 0xFFFFFFFF) for share in (item.loss, item.duplicate, item.reorder))
    options = _NETEM.pack(0, item.limit, loss, 1 if reorder else 0, duplicate, 0)
    options += _attribute(_NETEM_LATENCY64, _U64.pack(item.delay_us * 1000))
    options += _attribute(_NETEM_JITTER64, _U64.pack(item.jitter_us * 1000))
    if reorder:
        options += _attribute(_NETEM_REORDER, _U32.pack(reorder) + _U32.pack(0))
    body = _QDISC.pack(0, 0, index, 0, TC_H_ROOT, 0) + _text(_TCA_KIND, "netem") + _attribute(_TCA_OPTIONS, options)
    return Request(RTM_NEWQDISC, CREATE, body, lambda: f"tc {netem_words(item)}")
