"""Netlink requests for the devices of a plan and the eBPF programs on them."""

import socket
import struct
from collections.abc import Callable
from functools import partial

from testbed.plan.messages import CHANGE, CREATE, Request, attribute, mac_attribute, number, text
from testbed.plan.objects import (
    BpfHook,
    Bridge,
    Child,
    Datapath,
    Device,
    Geneve,
    IpTunnel,
    Link,
    OtherLink,
    Tun,
    TunnelKind,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)
from testbed.plan.shell import (
    child_commands,
    clsact_words,
    hook_words,
    link_words,
    veth_commands,
)
from testbed.plan.uapi import (
    IFF_NOARP,
    IFF_PROMISC,
    IFF_UP,
    RTM_DELLINK,
    RTM_DELTFILTER,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC_H_CLSACT,
    TC_H_MIN_EGRESS,
    TC_H_MIN_INGRESS,
)

LOOPBACK = 1
"""Index of `lo` in every namespace."""

_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, mask of flags."""
_QDISC = struct.Struct("=BxHiIII")
"""struct tcmsg: family, index, handle, parent, info."""
_U16 = struct.Struct("=H")
_PORT = struct.Struct("!H")

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
"""By name in `ip link`."""
_BRIDGE_FORWARD_DELAY, _BRIDGE_STP_STATE = 1, 5
_VXLAN_ID, _VXLAN_GROUP, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 2, 3, 4, 7, 15
_VXLAN_GROUP6, _VXLAN_LOCAL6, _VXLAN_EXTERNAL = 16, 17, 25
_GENEVE_PORT, _GENEVE_EXTERNAL = 5, 6
_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS, _IPTUN_PROTO = 2, 3, 8, 9
_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS = 6, 7, 13
_NO_ENCAP_LIMIT = 1
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_DIRECT, _ETH_P_ALL = 6, 7, 8, 1, 3

_CLSACT = TC_H_CLSACT & 0xFFFF0000
CLSACT_WAYS = {"ingress": _CLSACT | TC_H_MIN_INGRESS, "egress": _CLSACT | TC_H_MIN_EGRESS}
"""Parents of filters by direction."""


class NotByNetlink(ValueError):
    """Devices of this kind are not made by netlink, but by ioctl, a tool or a CNI plugin."""


def link_up(index: int, master: int | None = None, arp: bool = True) -> Request:
    """Set a device up; make it a port of the bridge with the index `master` if given."""
    attributes = b"" if master is None else number(_IFLA_MASTER, master)
    flags = IFF_UP if arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, index, flags, flags) + attributes
    return Request(RTM_NEWLINK, CHANGE, body, partial(_link_up_command, index, master))


def no_link(device: Device) -> Request:
    """Delete a device, and with it the other end of a pair; a device of the kernel itself is set down instead."""
    if isinstance(device, IpTunnel) and not device.local:
        body = _LINK.pack(0, 0, 0, 0, IFF_UP) + text(_IFLA_IFNAME, device.name)
        return Request(RTM_NEWLINK, CHANGE, body, lambda: f"ip link set {device.name} down")
    index = 0 if isinstance(device, Datapath) else device.index
    body = _LINK.pack(0, 0, index, 0, 0) + (b"" if index else text(_IFLA_IFNAME, device.name))
    return Request(RTM_DELLINK, CHANGE, body, lambda: f"ip link del {device.name}")


def set_link(
    index: int,
    *,
    mtu: int | None = None,
    mac: str = "",
    master: int | None = None,
    arp: bool = True,
    promiscuous: bool = False,
    name: str = "",
) -> Request:
    """Change a device, by index or name; `master` 0 removes it from its bridge."""
    flags = (0 if arp else IFF_NOARP) | (IFF_PROMISC if promiscuous else 0)
    body = _LINK.pack(0, 0, index, flags, IFF_NOARP | IFF_PROMISC)
    body += text(_IFLA_IFNAME, name) if name else b""
    body += b"" if mtu is None else number(_IFLA_MTU, mtu)
    body += mac_attribute(_IFLA_ADDRESS, mac) if mac else b""
    body += b"" if master is None else number(_IFLA_MASTER, master)
    return Request(RTM_NEWLINK, CHANGE, body, partial(_set_link_command, index, mtu, mac, master))


def _set_link_command(index: int, mtu: int | None, mac: str, master: int | None) -> str:
    words = (
        f" mtu {mtu}" if mtu else "",
        f" address {mac}" if mac else "",
        "" if master is None else f" master {master}",
    )
    return f"ip link set {index}{''.join(words)}"


def _link_up_command(index: int, master: int | None) -> str:
    return f"ip link set {index}{'' if master is None else f' master {master}'} up"


def new_link(link: Link, index_of: Callable[[str], int] | None = None) -> Request:
    """Make a device and set it up. `index_of` returns the index of another device there, if one is needed.

    Raises NotByNetlink.
    """
    if isinstance(link, IpTunnel) and not link.local:
        body = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP) + _device(link)
        return Request(RTM_NEWLINK, CHANGE, body, lambda: f"ip {link_words(link)} up")
    match link:
        case Bridge():
            kind = "bridge"
            data = number(_BRIDGE_STP_STATE, 0) + number(_BRIDGE_FORWARD_DELAY, 0)
        case Vxlan():
            kind, data = "vxlan", _vxlan(link, index_of)
        case Geneve():
            kind, data = "geneve", attribute(_GENEVE_PORT, _PORT.pack(link.port)) + attribute(_GENEVE_EXTERNAL, b"")
        case IpTunnel():
            kind, data = link.kind.value, _ip_tunnel(link)
        case Wireguard():
            kind, data = "wireguard", b""
        case Tun() | OtherLink() | Datapath():
            raise NotByNetlink(f"{link.name}: netlink does not make devices of the kind {type(link).__name__}")
    info = text(_INFO_KIND, kind) + attribute(_INFO_DATA, data)
    flags = IFF_UP | IFF_PROMISC if isinstance(link, Bridge) and link.promiscuous else IFF_UP
    body = _LINK.pack(0, 0, link.index, flags, flags) + _device(link) + attribute(_IFLA_LINKINFO, info)
    if link.master is not None:
        assert index_of
        body += number(_IFLA_MASTER, index_of(link.master))
    return Request(RTM_NEWLINK, CREATE, body, lambda: f"ip {link_words(link)}")


def _device(device: Device) -> bytes:
    address = mac_attribute(_IFLA_ADDRESS, device.mac) if device.mac else b""
    return text(_IFLA_IFNAME, device.name) + address + number(_IFLA_MTU, device.mtu)


def _vxlan(link: Vxlan, index_of: Callable[[str], int] | None) -> bytes:
    data = attribute(_VXLAN_PORT, _PORT.pack(link.port)) + attribute(_VXLAN_LEARNING, bytes([link.learning]))
    if link.external:
        return data + attribute(_VXLAN_EXTERNAL, b"\1")
    data += number(_VXLAN_ID, link.vni)
    if link.local:
        data += attribute(_VXLAN_LOCAL if link.local.version == 4 else _VXLAN_LOCAL6, link.local.packed)
    if link.group:
        data += attribute(_VXLAN_GROUP if link.group.version == 4 else _VXLAN_GROUP6, link.group.packed)
    if link.dev:
        assert index_of
        data += number(_VXLAN_LINK, index_of(link.dev))
    return data


def _ip_tunnel(link: IpTunnel) -> bytes:
    assert link.local
    is_gre = link.kind in (TunnelKind.GRE, TunnelKind.IP6GRE)
    local, remote, flags = (
        (_GRE_LOCAL, _GRE_REMOTE, _GRE_FLAGS) if is_gre else (_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_FLAGS)
    )
    data = attribute(local, link.local.packed)
    if link.remote:
        data += attribute(remote, link.remote.packed)
    if link.local.version == 6:
        data += number(flags, _NO_ENCAP_LIMIT)
    if link.kind is TunnelKind.IP6TNL:
        data += attribute(_IPTUN_PROTO, b"\0")  # Either family.
    return data


def new_child(child: Child, parent: int, there_fd: int) -> Request:
    """Make a device that shares the one with the index `parent`, in the namespace `there_fd`."""
    if child.kind == "macvlan":
        data = number(_MACVLAN_MODE, _MACVLAN_MODES[child.mode])
    else:
        data = attribute(_IPVLAN_MODE, _U16.pack(IPVLAN_MODES[child.mode]))
    info = text(_INFO_KIND, child.kind) + attribute(_INFO_DATA, data)
    body = (
        _LINK.pack(0, 0, child.index, 0, 0)
        + _device(child)
        + number(_IFLA_LINK, parent)
        + number(_IFLA_NET_NS_FD, there_fd)
        + attribute(_IFLA_LINKINFO, info)
    )
    return Request(RTM_NEWLINK, CREATE, body, lambda: next(child_commands(child)))


def new_veth(here: VethEnd, there: VethEnd, there_fd: int, master: int | None, is_netkit: bool = False) -> Request:
    """Make a veth or netkit pair, one end in the calling thread's namespace, the other in the namespace `there_fd`.

    The near end is set up, as a port of the bridge with the index `master` if given.
    """
    peer = _LINK.pack(0, 0, there.index, 0, 0) + _device(there) + number(_IFLA_NET_NS_FD, there_fd)
    if is_netkit:
        data = number(_NETKIT_MODE, _NETKIT_L3) + attribute(_NETKIT_PEER, peer)
        info = text(_INFO_KIND, "netkit") + attribute(_INFO_DATA, data)
    else:
        info = text(_INFO_KIND, "veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, peer))
    flags = IFF_UP if here.arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, here.index, flags, flags) + _device(here) + attribute(_IFLA_LINKINFO, info)
    if master is not None:
        body += number(_IFLA_MASTER, master)
    return Request(RTM_NEWLINK, CREATE, body, partial(_new_veth_command, here, there, is_netkit))


def _new_veth_command(here: VethEnd, there: VethEnd, is_netkit: bool) -> str:
    return next(veth_commands(Veth(here, there, is_netkit)))


def new_clsact(dev: str, index: int) -> Request:
    """Add the qdisc that a device needs for eBPF programs in either direction."""
    body = _QDISC.pack(0, 0, index, _CLSACT, TC_H_CLSACT, 0) + text(_TCA_KIND, "clsact")
    return Request(RTM_NEWQDISC, CREATE, body, lambda: f"tc {clsact_words(dev)}")


def new_filter(item: BpfHook, index: int, program: int, pins: str = "") -> Request:
    """Attach a program, by descriptor, to a direction of a device; `pins` is the folder with its pin."""
    options = number(_BPF_FD, program) + text(_BPF_NAME, item.program) + number(_BPF_FLAGS, _BPF_DIRECT)
    body = _QDISC.pack(0, 0, index, 1, CLSACT_WAYS[item.where], 1 << 16 | socket.htons(_ETH_P_ALL))
    body += text(_TCA_KIND, "bpf") + attribute(_TCA_OPTIONS, options)
    return Request(RTM_NEWTFILTER, CREATE, body, lambda: f"tc {hook_words(item, pins)}")


def no_filter(item: BpfHook, index: int) -> Request:
    """Detach the program from a direction of a device."""
    body = _QDISC.pack(0, 0, index, 1, CLSACT_WAYS[item.where], 1 << 16 | socket.htons(_ETH_P_ALL))
    return Request(
        RTM_DELTFILTER, CHANGE, body + text(_TCA_KIND, "bpf"), lambda: f"tc filter del dev {item.dev} {item.where}"
    )
