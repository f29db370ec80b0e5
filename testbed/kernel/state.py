"""What a namespace holds now, read from the kernel in the words in which plans are written."""

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETQDISC,
    RTM_GETROUTE,
    RTM_GETRULE,
    rt_type,
)
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_SELF, NUD_FAILED, NUD_INCOMPLETE, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.rtmsg import RTNH_F_ONLINK, rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from testbed.kernel.bpf import BpfState, state_of
from testbed.kernel.datapath import DatapathState, datapath_state
from testbed.kernel.encode import IPVLAN_MODES, NS_PER_TICK
from testbed.kernel.netlink import HEADER, attributes, connect, dump, text
from testbed.kernel.rulesets import listed
from testbed.kernel.sysctls import Sysctls
from testbed.kernel.uapi import IFF_NOARP, IFF_PROMISC
from testbed.plan.objects import (
    BOOT,
    LOCAL_TABLE,
    Bpf,
    DeviceAddress,
    Encapsulation,
    FdbEntry,
    Neighbour,
    Netem,
    NextHop,
    Route,
    RoutingRule,
    SegmentEnd,
    Segments,
    Sysctl,
    TokenBucket,
    TunnelKey,
)
from testbed.plan.rulesets import Backend, Whole
from testbed.plan.shell import FLOODED
from testbed.spec.types import Address, Network

_IFA_F_NOPREFIXROUTE = 0x200
_RTPROT_KERNEL = 2
_RTM_F_CLONED = 0x200
_RULE_INVERTED = 0x2
_LAST_RULES = ((32766, 254), (32767, 253))
"""Priority and table of those that the kernel puts into each namespace, behind that of the local table."""
_IPVLAN_MODES = {number: name for name, number in IPVLAN_MODES.items()}
BUILT_IN = frozenset(("lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0"))
"""Devices that kernels put into each namespace by themselves."""
_RTMSG_SIZE = 12
_RTA_ENCAP = 22
_LWTUNNEL_IP, _LWTUNNEL_IP6, _LWTUNNEL_SEG6, _LWTUNNEL_SEG6_LOCAL = 2, 4, 5, 7
_LWTUNNEL_IP_ID, _LWTUNNEL_IP_DST, _LWTUNNEL_IP_SRC = 1, 2, 3
_SEG6_SRH, _SEG6_LOCAL_ACTION, _SEGMENTS_AT = 1, 1, 12
_NETLINK_XFRM, _XFRM_MSG_GETSA = 6, 18
_XFRM_TARGET_AT, _XFRM_SOURCE_AT, _XFRM_FAMILY_AT = 56, 80, 212
"""In struct xfrm_usersa_info: behind the selector the target, and the source behind SPI and protocol."""
OPEN_VSWITCH = "openvswitch"
"""The kind of a datapath's own device."""
_ROUTE_TYPES = {number: name for name, number in rt_type.items()}
_NETLINK_NETFILTER = 12
_NFT_GETTABLE = (10 << 8) | 1
_NFT_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_NFTA_TABLE_NAME, _NFGENMSG_SIZE = 1, 4


@dataclass(frozen=True)
class DeviceState:
    """A device as it is."""

    name: str
    index: int
    kind: str
    """`veth`, `bridge`, `vxlan` ...; empty where the kernel names none."""
    mac: str
    mtu: int
    up: bool
    master: str
    """The bridge that it is a port of; empty if none."""
    arp: bool = True
    """Whether it asks for MAC addresses."""
    promiscuous: bool = False
    """Whether somebody has set it so; not by a capture's doing."""
    details: str = ""
    """Of a tunnel: what makes it this one, in words."""
    link: int = 0
    """The number of the device that it hangs on, or of the other end of its pair, which may be in another namespace."""
    link_space: int | None = None
    """By which number its own namespace knows the one that `link` is in; None if that is its own as well."""
    mode: str = ""
    """Of a device that shares another one: in which way."""


@dataclass(frozen=True)
class State:
    """All of a namespace that a plan could say something about."""

    devices: dict[str, DeviceState]
    addresses: frozenset[DeviceAddress]
    """Without those that the kernel gives by itself: loopback's and IPv6 link-local ones."""
    routes: frozenset[Route]
    """Of all tables but the kernel's local one; those of connected networks among them."""
    refusals: frozenset[str]
    """Routes of further kinds, as `ip route` writes them: `prohibit 10.0.0.0/8`."""
    rules: frozenset[RoutingRule]
    """Without the last two that each namespace begins with."""
    neighbours: frozenset[Neighbour]
    """Permanent ones; what was learned is no matter."""
    fdb: frozenset[FdbEntry]
    """Permanent ones that lead to a tunnel's end."""
    token_buckets: frozenset[TokenBucket]
    netems: frozenset[Netem]
    associations: frozenset[str]
    """Of IPsec, as `SOURCE > TARGET`."""
    tables: frozenset[str]
    """Of nftables, as `inet filter`."""
    classifying: frozenset[str]
    """The devices on which programs can be hung by tc (clsact)."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Those that were asked for; one that the kernel does not have is missing."""
    datapaths: dict[str, DatapathState] = field(default_factory=dict)
    """Of Open vSwitch, by name."""
    rulesets: dict[Backend, Whole] = field(default_factory=dict)
    """Of the backends that were asked for."""
    bpf: BpfState | None = None
    """Of the eBPF programs that were asked for."""


def state(
    sysctls: Iterable[Sysctl] = (), rulesets: Mapping[Backend, Iterable[str]] | None = None, bpf: Bpf | None = None
) -> State:
    """The state of the namespace that the calling thread is in, with these settings, the rules of these backends (of
    nftables in these tables), and these programs."""
    with Sysctls() as settings:
        values = settings.values(sysctls)
    with connect() as sock:
        links = list(_dump(sock, RTM_GETLINK, ifinfmsg, socket.AF_UNSPEC))
        names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in links}
        addresses = list(_dump(sock, RTM_GETADDR, ifaddrmsg, socket.AF_UNSPEC))
        routes = [m for family in (socket.AF_INET, socket.AF_INET6) for m in _dump(sock, RTM_GETROUTE, rtmsg, family)]
        rules = [m for family in (socket.AF_INET, socket.AF_INET6) for m in _dump(sock, RTM_GETRULE, fibmsg, family)]
        neighbours = list(_dump(sock, RTM_GETNEIGH, ndmsg, socket.AF_UNSPEC))
        forwarding = list(_dump(sock, RTM_GETNEIGH, ndmsg, socket.AF_BRIDGE))
        queues = list(_dump(sock, RTM_GETQDISC, tcmsg, socket.AF_UNSPEC))
    plain, refusals = _routes(routes, names)
    return State(
        devices={names[link["index"]]: _device(link, names) for link in links},
        addresses=frozenset(_addresses(addresses, names)),
        routes=frozenset(plain),
        refusals=frozenset(refusals),
        rules=frozenset(_rules(rules)),
        neighbours=frozenset(_neighbours(neighbours, names)),
        fdb=frozenset(_forwarding(forwarding, names)),
        token_buckets=frozenset(_token_buckets(queues, names)),
        netems=frozenset(_netems(queues, names)),
        associations=frozenset(_associations()),
        tables=frozenset(nft_tables()),
        classifying=frozenset(names[item["index"]] for item in queues if item.get_attr("TCA_KIND") == "clsact"),
        sysctls=values,
        datapaths={
            names[link["index"]]: datapath_state(names[link["index"]]) for link in links if _kind(link) == OPEN_VSWITCH
        },
        rulesets=listed(rulesets or {}),
        bpf=state_of(bpf, {name: index for index, name in names.items()}) if bpf else None,
    )


def routes() -> frozenset[Route]:
    """Those of the calling thread's namespace, as in `State`."""
    with connect() as sock:
        names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in _dump(sock, RTM_GETLINK, ifinfmsg, 0)}
        found = [m for family in (socket.AF_INET, socket.AF_INET6) for m in _dump(sock, RTM_GETROUTE, rtmsg, family)]
    return frozenset(_routes(found, names)[0])


def connected(addresses: Iterable[DeviceAddress]) -> Iterator[Route]:
    """The routes that the kernel makes of addresses, while their devices are up."""
    for item in addresses:
        network = item.interface.network
        if not item.noprefixroute and (network.prefixlen < network.max_prefixlen or network.version == 6):
            yield Route(network, item.dev)


def unanswered() -> tuple[tuple[Address, str], ...]:
    """The neighbours of the calling thread's namespace that did not answer ARP or NDP, each with the device."""
    with connect() as sock:
        names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in _dump(sock, RTM_GETLINK, ifinfmsg, 0)}
        found = list(_dump(sock, RTM_GETNEIGH, ndmsg, socket.AF_UNSPEC))
    return tuple(
        (ipaddress.ip_address(item.get_attr("NDA_DST")), names[item["ifindex"]])
        for item in found
        if item["family"] in (socket.AF_INET, socket.AF_INET6) and item["state"] & (NUD_FAILED | NUD_INCOMPLETE)
    )


def _dump(sock: socket.socket, kind: int, message: type[nlmsg], family: int) -> Iterator[Any]:
    """All that the kernel lists of a kind, decoded."""
    size = struct.calcsize("=" + "".join(form for _, form in message.fields))
    for payload in dump(sock, kind, bytes([family]) + bytes(size - 1)):
        found = message(HEADER.pack(HEADER.size + len(payload), kind, 0, 0, 0) + payload)
        found.decode()
        yield found


def _kind(link: Any) -> str:
    info = link.get_attr("IFLA_LINKINFO")
    return str(info.get_attr("IFLA_INFO_KIND") or "") if info else ""


def _device(link: Any, names: dict[int, str]) -> DeviceState:
    info, kind = link.get_attr("IFLA_LINKINFO"), _kind(link)
    return DeviceState(
        name=names[link["index"]],
        index=link["index"],
        kind=kind,
        mac=str(link.get_attr("IFLA_ADDRESS") or ""),
        mtu=link.get_attr("IFLA_MTU"),
        up=bool(link["flags"] & IFF_UP),
        master=names.get(link.get_attr("IFLA_MASTER"), ""),
        arp=not link["flags"] & IFF_NOARP,
        promiscuous=bool(link["flags"] & IFF_PROMISC),
        details=_details(kind, info.get_attr("IFLA_INFO_DATA") if info else None, names),
        link=link.get_attr("IFLA_LINK") or 0,
        link_space=link.get_attr("IFLA_LINK_NETNSID"),
        mode=_mode(kind, info.get_attr("IFLA_INFO_DATA") if info else None),
    )


def _mode(kind: str, data: Any) -> str:
    found = data.get_attr(f"IFLA_{kind.upper()}_MODE") if kind in ("macvlan", "ipvlan") and data else ""
    return _IPVLAN_MODES[found] if isinstance(found, int) else str(found or "")


def _details(kind: str, data: Any, names: dict[int, str]) -> str:
    if kind == "vxlan" and data:
        if data.get_attr("IFLA_VXLAN_COLLECT_METADATA"):
            return f"external VXLAN port {data.get_attr('IFLA_VXLAN_PORT')}"
        local = data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6") or ""
        learning = " learning" if data.get_attr("IFLA_VXLAN_LEARNING") else ""
        below = data.get_attr("IFLA_VXLAN_LINK")
        by = f" by {names.get(below, below)}" if below else ""
        number, port = data.get_attr("IFLA_VXLAN_ID"), data.get_attr("IFLA_VXLAN_PORT")
        return f"VXLAN {number} at {local}{by} port {port}{learning}"
    return ""


def _addresses(found: Iterable[Any], names: dict[int, str]) -> Iterator[DeviceAddress]:
    for item in found:
        address = ipaddress.ip_address(item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS"))
        if not address.is_loopback and not address.is_link_local:
            interface = ipaddress.ip_interface((address, item["prefixlen"]))
            bare = bool((item.get_attr("IFA_FLAGS") or 0) & _IFA_F_NOPREFIXROUTE)
            yield DeviceAddress(names[item["index"]], interface, bare)


def _routes(found: Iterable[Any], names: dict[int, str]) -> tuple[list[Route], list[str]]:
    plain, refusals = [], []
    for item in found:
        # What the kernel has found out of single destinations, such as their path MTU, is listed beside the routes.
        table = item.get_attr("RTA_TABLE", item["table"])
        if table == LOCAL_TABLE or item["flags"] & _RTM_F_CLONED:
            continue
        nowhere = "0.0.0.0" if item["family"] == socket.AF_INET else "::"
        to = ipaddress.ip_network((item.get_attr("RTA_DST") or nowhere, item["dst_len"]))
        kind = _ROUTE_TYPES.get(item["type"], str(item["type"]))
        is_nobodys = to.is_link_local and to.prefixlen < to.max_prefixlen  # Which the kernel makes for each device.
        if is_nobodys or to.is_multicast:
            continue
        if kind == "blackhole":
            plain.append(Route(to, "", blackhole=True, table=table, protocol=_protocol(item)))
        elif kind != "unicast":
            refusals.append(f"{kind} {'default' if to.prefixlen == 0 else to}")
        else:
            plain.append(replace(_route(item, to, names), table=table, protocol=_protocol(item)))
    return plain, refusals


def _protocol(route: Any) -> int:
    """Whose it is; those that the kernel makes of addresses are as if nobody's in particular."""
    return BOOT if route["proto"] == _RTPROT_KERNEL else int(route["proto"])


def _route(item: Any, to: Network, names: dict[int, str]) -> Route:
    preferred = item.get_attr("RTA_PREFSRC") if item["proto"] != _RTPROT_KERNEL else None
    source = ipaddress.ip_address(preferred) if preferred else None
    if hops := item.get_attr("RTA_MULTIPATH"):
        ways = (NextHop(ipaddress.ip_address(hop.get_attr("RTA_GATEWAY")), names[hop["oif"]]) for hop in hops)
        return Route(to, "", nexthops=tuple(sorted(ways, key=str)), source=source)
    gateway = item.get_attr("RTA_GATEWAY")
    via = ipaddress.ip_address(gateway) if gateway else None
    dev = names.get(item.get_attr("RTA_OIF"), "")
    return Route(to, dev, via, bool(item["flags"] & RTNH_F_ONLINK), _encapsulation(item), source=source)


def _rules(found: Iterable[Any]) -> Iterator[RoutingRule]:
    for item in found:
        family: Literal[4, 6] = 4 if item["family"] == socket.AF_INET else 6
        source = item.get_attr("FRA_SRC")
        rule = RoutingRule(
            item.get_attr("FRA_PRIORITY") or 0,
            family,
            item.get_attr("FRA_TABLE", item["table"]),
            ipaddress.ip_network((source, item["src_len"])) if source else None,
            item.get_attr("FRA_FWMARK") or 0,
            item.get_attr("FRA_FWMASK") or 0,
            bool(item["flags"] & _RULE_INVERTED),
        )
        if (rule.priority, rule.table) not in _LAST_RULES:
            yield rule


def _encapsulation(route: Any) -> Encapsulation | None:
    """What is done to a route's packets, unpacked by hand: pyroute2 knows the kinds by halves."""
    kind = route.get_attr("RTA_ENCAP_TYPE")
    if not kind:
        return None
    found = {kind: bytes(value) for kind, value in attributes(_raw(route, _RTA_ENCAP)).items()}
    if kind in (_LWTUNNEL_IP, _LWTUNNEL_IP6):
        number = int.from_bytes(found[_LWTUNNEL_IP_ID], "big")
        return TunnelKey(number, *(ipaddress.ip_address(found[at]) for at in (_LWTUNNEL_IP_SRC, _LWTUNNEL_IP_DST)))
    if kind == _LWTUNNEL_SEG6:
        header = found[_SEG6_SRH]
        segments = [header[at : at + 16] for at in range(_SEGMENTS_AT, len(header) - 15, 16)]
        return Segments(tuple(map(ipaddress.IPv6Address, reversed(segments))))
    if kind == _LWTUNNEL_SEG6_LOCAL:
        return SegmentEnd("End.DX4" if int.from_bytes(found[_SEG6_LOCAL_ACTION], sys.byteorder) == 6 else "End.DX6")
    return None


def _raw(message: Any, wanted: int) -> memoryview:
    """An attribute of a route as the kernel sent it."""
    return attributes(memoryview(bytes(message.data)), message.offset + HEADER.size + _RTMSG_SIZE)[wanted]


def _neighbours(found: Iterable[Any], names: dict[int, str]) -> Iterator[Neighbour]:
    for item in found:
        if item["family"] in (socket.AF_INET, socket.AF_INET6) and item["state"] & NUD_PERMANENT:
            address, mac = item.get_attr("NDA_DST"), item.get_attr("NDA_LLADDR")
            yield Neighbour(ipaddress.ip_address(address), str(mac), names[item["ifindex"]])


def _forwarding(found: Iterable[Any], names: dict[int, str]) -> Iterator[FdbEntry]:
    for item in found:
        remote, mac = item.get_attr("NDA_DST"), str(item.get_attr("NDA_LLADDR"))
        if mac == FLOODED and remote and ipaddress.ip_address(remote).is_multicast:
            continue  # The device's own group.
        if remote and item["flags"] & NTF_SELF and item["state"] & NUD_PERMANENT:
            yield FdbEntry(mac, names[item["ifindex"]], ipaddress.ip_address(remote))


def _token_buckets(found: Iterable[Any], names: dict[int, str]) -> Iterator[TokenBucket]:
    for item in found:
        if item.get_attr("TCA_KIND") == "tbf":
            options = item.get_attr("TCA_OPTIONS").get_attr("TCA_TBF_PARMS")
            burst = options["buffer"] * NS_PER_TICK * options["rate"] // 1_000_000_000
            yield TokenBucket(names[item["index"]], options["rate"] * 8, burst, options["limit"])


def _netems(found: Iterable[Any], names: dict[int, str]) -> Iterator[Netem]:
    for item in found:
        if item.get_attr("TCA_KIND") == "netem":
            options = item.get_attr("TCA_OPTIONS")
            # Ticks are so short that the microsecond which was asked for is told from its neighbours.
            delay_us, jitter_us = (round(options[key] * NS_PER_TICK / 1000) for key in ("delay", "jitter"))
            reorder = options.get_attr("TCA_NETEM_REORDER")
            shares = (options["loss"], options["duplicate"], reorder["prob_reorder"] if reorder else 0)
            loss, duplicate, overtaking = (round(share / 0xFFFFFFFF, 6) for share in shares)
            yield Netem(names[item["index"]], delay_us, jitter_us, loss, duplicate, overtaking, options["limit"])


def _associations() -> Iterator[str]:
    """IPsec's, by the kernel's own list; none on a kernel without."""
    with suppress(OSError), connect(_NETLINK_XFRM) as sock:
        for found in dump(sock, _XFRM_MSG_GETSA, b""):
            size = 16 if struct.unpack_from("=H", found, _XFRM_FAMILY_AT)[0] == socket.AF_INET6 else 4
            source, target = (bytes(found[at : at + size]) for at in (_XFRM_SOURCE_AT, _XFRM_TARGET_AT))
            yield f"{ipaddress.ip_address(source)} > {ipaddress.ip_address(target)}"


def nft_tables() -> Iterator[str]:
    """Nothing on a kernel without nftables."""
    with suppress(OSError), connect(_NETLINK_NETFILTER) as sock:
        for found in dump(sock, _NFT_GETTABLE, bytes(_NFGENMSG_SIZE)):
            name = text(attributes(found, _NFGENMSG_SIZE)[_NFTA_TABLE_NAME])
            yield f"{_NFT_FAMILIES.get(found[0], found[0])} {name}"
