"""From the kernel objects of a plan to netlink requests: one function for each kind of object."""

import socket

from pyroute2.netlink.rtnl import (
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    TC_H_ROOT,
    rt_proto,
    rt_scope,
    rt_type,
)
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_SELF, NUD_NOARP, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.rtmsg import RTNH_F_ONLINK, rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from testbed.kernel.netlink import CHANGE, CREATE, Request, request
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

_TC_LINKLAYER_ETHERNET = 1
NS_PER_TICK = 64
"""Of the packet scheduler's clock, PSCHED_SHIFT in the kernel."""

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def family(of: Address | Interface | Network) -> int:
    """AF_INET or AF_INET6."""
    return int(_FAMILY[of.version])


def link_up(index: int, master: int | None = None) -> Request:
    """Sets a device up, as a port of a bridge if `master` is its index."""
    attributes = [] if master is None else [("IFLA_MASTER", master)]
    return request(
        ifinfmsg(),
        RTM_NEWLINK,
        CHANGE,
        {"index": index, "flags": IFF_UP, "change": IFF_UP},
        attributes,
        f"ip link set {index}{'' if master is None else f' master {master}'} up",
    )


def new_link(link: Link) -> Request:
    match link:
        case Bridge():
            kind = "bridge"
            data: list[tuple[str, object]] = [("IFLA_BR_STP_STATE", 0), ("IFLA_BR_FORWARD_DELAY", 0)]
        case Vxlan():
            kind, data = "vxlan", _vxlan(link)
    info = {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": data})]}
    return request(
        ifinfmsg(),
        RTM_NEWLINK,
        CREATE,
        {"index": link.index, "flags": IFF_UP, "change": IFF_UP},
        [*_device(link), ("IFLA_LINKINFO", info)],
        f"ip link add {link.name} type {kind}",
    )


def _device(device: Link | VethEnd) -> list[tuple[str, object]]:
    return [("IFLA_IFNAME", device.name), ("IFLA_ADDRESS", device.mac), ("IFLA_MTU", device.mtu)]


def _vxlan(link: Vxlan) -> list[tuple[str, object]]:
    local = "IFLA_VXLAN_LOCAL" if link.local.version == 4 else "IFLA_VXLAN_LOCAL6"
    return [
        ("IFLA_VXLAN_ID", link.vni),
        ("IFLA_VXLAN_PORT", link.port),
        (local, str(link.local)),
        ("IFLA_VXLAN_LEARNING", int(link.learning)),
    ]


def new_veth(here: VethEnd, there: VethEnd, there_fd: int, master: int | None) -> Request:
    """A veth pair with one end in the calling thread's namespace, the other where `there_fd` says.

    The end here is set up, as a port of the bridge with the index `master` if there is one.
    """
    peer = {
        "index": there.index,
        "attrs": [*_device(there), ("IFLA_NET_NS_FD", there_fd)],
    }
    info = {
        "attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})],
    }
    attributes = [*_device(here), ("IFLA_LINKINFO", info)]
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
    return request(
        ifinfmsg(),
        RTM_NEWLINK,
        CREATE,
        {"index": here.index, "flags": IFF_UP, "change": IFF_UP},
        attributes,
        f"ip link add {here.name} type veth peer name {there.name} netns {there.space}",
    )


def new_address(item: DeviceAddress, index: int) -> Request:
    interface = item.interface
    return request(
        ifaddrmsg(),
        RTM_NEWADDR,
        CREATE,
        {
            "family": family(interface),
            "prefixlen": interface.network.prefixlen,
            "index": index,
            "flags": IFA_F_NODAD if interface.version == 6 else 0,
        },
        [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))],
        f"ip address add {interface} dev {item.dev}",
    )


def new_token_bucket(item: TokenBucket, index: int) -> Request:
    per_second = item.rate // 8
    parameters = {
        "rate": per_second,
        "rate___reserved": _TC_LINKLAYER_ETHERNET,  # Otherwise the kernel wants a table of times by packet size.
        "limit": item.limit,
        "buffer": -(-item.burst * 1_000_000_000 // per_second // NS_PER_TICK),
    }
    return request(
        tcmsg(),
        RTM_NEWQDISC,
        CREATE,
        {"index": index, "parent": TC_H_ROOT},
        [("TCA_KIND", "tbf"), ("TCA_OPTIONS", {"attrs": [("TCA_TBF_PARMS", parameters)]})],
        f"tc qdisc add dev {item.dev} root tbf rate {item.rate}bit burst {item.burst} limit {item.limit}",
    )


def new_neighbour(item: Neighbour, index: int) -> Request:
    return request(
        ndmsg(),
        RTM_NEWNEIGH,
        CREATE,
        {"family": family(item.address), "ifindex": index, "state": NUD_PERMANENT},
        [("NDA_DST", str(item.address)), ("NDA_LLADDR", item.mac)],
        f"ip neighbour add {item.address} lladdr {item.mac} dev {item.dev}",
    )


def new_fdb_entry(item: FdbEntry, index: int) -> Request:
    return request(
        ndmsg(),
        RTM_NEWNEIGH,
        CREATE,
        {
            "family": socket.AF_BRIDGE,
            "ifindex": index,
            "state": NUD_PERMANENT | NUD_NOARP,
            "flags": NTF_SELF,
        },
        [("NDA_LLADDR", item.mac), ("NDA_DST", str(item.remote))],
        f"bridge fdb add {item.mac} dev {item.dev} dst {item.remote}",
    )


def new_route(item: Route, index: int) -> Request:
    attributes: list[tuple[str, object]] = [("RTA_OIF", index)]
    if item.to.prefixlen:
        attributes.append(("RTA_DST", str(item.to.network_address)))
    if item.via is not None:
        attributes.append(("RTA_GATEWAY", str(item.via)))
    # As `ip route add` does: a destination without a next hop is on the link (IPv6 knows no such scope).
    on_link = item.via is None and item.to.version == 4
    return request(
        rtmsg(),
        RTM_NEWROUTE,
        CREATE,
        {
            "family": family(item.to),
            "dst_len": item.to.prefixlen,
            "table": 254,
            "proto": rt_proto["boot"],
            "scope": rt_scope["link" if on_link else "universe"],
            "type": rt_type["unicast"],
            "flags": RTNH_F_ONLINK if item.onlink else 0,
        },
        attributes,
        f"ip route add {item.to}{f' via {item.via}' if item.via else ''} dev {item.dev}",
    )
