"""Netlink requests for the devices of a plan and the eBPF programs on them."""

import socket
import struct
from collections.abc import Sequence
from functools import partial

from testbed.plan.messages import CHANGE, CREATE, IndexOf, Request, attribute, mac_attribute, number, text
from testbed.plan.objects import BpfHook, Bridge, Child, Device, Link, Veth, VethEnd
from testbed.plan.objects.child import child_commands, child_data
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.veth import pair_data, pair_name, veth_commands
from testbed.plan.shell import clsact_words, hook_words
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
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_NET_NS_FD = (
    1,
    3,
    4,
    5,
    10,
    18,
    27,
    28,
)
_DELETED = 0x64656C65
"""The group of devices that are being deleted; no other tool uses it."""
_INFO_KIND, _INFO_DATA = 1, 2
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_DIRECT, _ETH_P_ALL = 6, 7, 8, 1, 3

_CLSACT = TC_H_CLSACT & 0xFFFF0000
CLSACT_WAYS = {"ingress": _CLSACT | TC_H_MIN_INGRESS, "egress": _CLSACT | TC_H_MIN_EGRESS}
"""Parents of filters by direction."""


class NotByNetlink(ValueError):
    """Devices of this kind are not made by netlink, but by ioctl, a tool or a CNI plugin."""

    def __init__(self, device: Device) -> None:
        super().__init__(f"{device.name}: netlink does not make devices of the kind {type(device).__name__}")


def link_up(index: int, master: int | None = None, arp: bool = True) -> Request:
    """Set a device up; make it a port of the bridge with the index `master` if given."""
    attributes = b"" if master is None else number(_IFLA_MASTER, master)
    flags = IFF_UP if arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, index, flags, flags) + attributes
    return Request(RTM_NEWLINK, CHANGE, body, partial(_link_up_command, index, master))


def no_link(device: Device) -> Request:
    """Delete a device, and with it the other end of a pair; a device of the kernel itself is set down instead.

    Raises NotByNetlink.
    """
    kind = LINK_KINDS.get(type(device))
    if kind and kind.is_kernels_own(device):
        if kind.data is None:
            raise NotByNetlink(device)
        body = _LINK.pack(0, 0, 0, 0, IFF_UP) + text(_IFLA_IFNAME, device.name)
        return Request(RTM_NEWLINK, CHANGE, body, lambda: f"ip link set {device.name} down")
    return Request(RTM_DELLINK, CHANGE, _LINK.pack(0, 0, device.index, 0, 0), lambda: f"ip link del {device.name}")


def no_links(indices: Sequence[int]) -> list[Request]:
    """Delete several devices at once, as a group."""
    group = number(_IFLA_GROUP, _DELETED)
    joins = (_LINK.pack(0, 0, index, 0, 0) + group for index in indices)
    return [
        *(Request(RTM_NEWLINK, CHANGE, body, lambda: f"ip link set group {_DELETED}") for body in joins),
        Request(RTM_DELLINK, CHANGE, _LINK.pack(0, 0, 0, 0, 0) + group, lambda: f"ip link del group {_DELETED}"),
    ]


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


def _no_devices(name: str) -> int:
    raise KeyError(name)


def new_link(link: Link, index_of: IndexOf = _no_devices) -> Request:
    """Make a device and set it up. `index_of` returns the index of another device there, if one is needed.

    Raises NotByNetlink.
    """
    kind = LINK_KINDS[type(link)]
    if kind.data is None:
        raise NotByNetlink(link)
    flags = IFF_UP | IFF_PROMISC if isinstance(link, Bridge) and link.promiscuous else IFF_UP
    if kind.is_kernels_own(link):
        index, how, info = 0, CHANGE, b""
    else:
        index, how, info = link.index, CREATE, _info(kind.kernel_name(link), kind.data(link, index_of))
    body = _LINK.pack(0, 0, index, flags, flags) + _device(link) + info
    if link.master is not None:
        body += number(_IFLA_MASTER, index_of(link.master))
    return Request(RTM_NEWLINK, how, body, lambda: f"ip {kind.words(link)}{'' if info else ' up'}")


def _info(kind: str, data: bytes) -> bytes:
    return attribute(_IFLA_LINKINFO, text(_INFO_KIND, kind) + attribute(_INFO_DATA, data))


def _device(device: Device) -> bytes:
    address = mac_attribute(_IFLA_ADDRESS, device.mac) if device.mac else b""
    return text(_IFLA_IFNAME, device.name) + address + number(_IFLA_MTU, device.mtu)


def new_of_kind(name: str, index: int, kind: str, data: bytes = b"", parent: int = 0) -> Request:
    """Make a device of any kind, with the attributes of its kind; on the one with the index `parent` if given."""
    body = _LINK.pack(0, 0, index, 0, 0) + text(_IFLA_IFNAME, name) + _info(kind, data)
    body += number(_IFLA_LINK, parent) if parent else b""
    return Request(RTM_NEWLINK, CREATE, body, lambda: f"ip link add {name} index {index} type {kind}")


def new_child(child: Child, parent: int, there_fd: int) -> Request:
    """Make a device that shares the one with the index `parent`, in the namespace `there_fd`."""
    body = _LINK.pack(0, 0, child.index, 0, 0) + _device(child) + number(_IFLA_LINK, parent)
    body += number(_IFLA_NET_NS_FD, there_fd) + _info(child.kind, child_data(child))
    return Request(RTM_NEWLINK, CREATE, body, lambda: next(child_commands(child)))


def new_veth(here: VethEnd, there: VethEnd, there_fd: int, master: int | None, is_netkit: bool = False) -> Request:
    """Make a veth or netkit pair, one end in the calling thread's namespace, the other in the namespace `there_fd`.

    The near end is set up, as a port of the bridge with the index `master` if given.
    """
    peer = _LINK.pack(0, 0, there.index, 0, 0) + _device(there) + number(_IFLA_NET_NS_FD, there_fd)
    flags = IFF_UP if here.arp else IFF_UP | IFF_NOARP
    body = _LINK.pack(0, 0, here.index, flags, flags) + _device(here)
    body += _info(pair_name(is_netkit), pair_data(is_netkit, peer))
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
