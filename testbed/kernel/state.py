"""Read the state of a namespace from the kernel, as objects of a plan."""

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from testbed.kernel.bpf import BpfState, state_of
from testbed.kernel.datapath import DatapathState, datapath_state
from testbed.kernel.netlink import connect, dump
from testbed.kernel.rulesets import listed
from testbed.kernel.sysctls import Sysctls
from testbed.plan.messages import address_in, attributes, mac_in, number_in, text_in
from testbed.plan.objects import Bpf, DeviceAddress, Route, Sysctl
from testbed.plan.objects.child import mode_in
from testbed.plan.objects.datapath import DATAPATHS
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.link_kind import Attributes, Names
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.neighbours import NDA_DST, NEIGHBOUR_HEADER, NEIGHBOURS
from testbed.plan.objects.queues import QUEUE_DUMPS, options_of
from testbed.plan.objects.routes import ROUTES, refusal_in
from testbed.plan.rulesets import Backend
from testbed.plan.rulesets.merge import Whole
from testbed.plan.uapi import IFF_NOARP, IFF_PROMISC, IFF_UP, NUD_FAILED, NUD_INCOMPLETE, RTM_GETLINK
from testbed.spec.types import Address

T = TypeVar("T")
_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, mask of flags."""
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = (
    *(1, 3, 4, 5, 10),
    *(18, 37),
)
_INFO_KIND, _INFO_DATA = 1, 2
_READERS = {name: kind.read for kind in LINK_KINDS.values() for name in kind.names}
"""Readers of a device's parameters, by the kernel's name of its kind."""
BUILT_IN = frozenset(("lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0"))
"""Devices that the kernel makes in each namespace."""
_NETLINK_XFRM, _XFRM_MSG_GETSA = 6, 18
_XFRM_TARGET_AT, _XFRM_SOURCE_AT, _XFRM_FAMILY_AT = 56, 80, 212
"""Offsets in struct xfrm_usersa_info."""
_NETLINK_NETFILTER = 12
_NFT_GETTABLE = (10 << 8) | 1
_NFT_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_NFTA_TABLE_NAME, _NFGENMSG_SIZE = 1, 4


@dataclass(frozen=True)
class DeviceState:
    """The state of a device."""

    name: str
    index: int
    kind: str
    """`veth`, `bridge`, `vxlan` ...; empty if the kernel reports none."""
    mac: str
    mtu: int
    up: bool
    master: str
    """The bridge or datapath of which it is a port; empty if none."""
    arp: bool = True
    """Whether it resolves MAC addresses."""
    promiscuous: bool = False
    """Whether `ip link set promisc on` was used; captures do not set it."""
    details: str = ""
    """Parameters of a tunnel, in words."""
    link: int = 0
    """The index of its parent, or of the other end of its pair, which may be in another namespace."""
    link_space: int | None = None
    """The ID of the namespace of `link` in its own namespace (nsid); None if they are the same."""
    mode: str = ""
    """The mode of a device that shares a parent."""


@dataclass(frozen=True)
class _Link:
    """A device in a dump of the kernel."""

    index: int
    name: str
    flags: int
    kind: str
    attributes: Attributes
    data: Attributes
    """The attributes of its kind."""


@dataclass(frozen=True)
class State:
    """The state of a namespace, as far as a plan can describe it."""

    devices: dict[str, DeviceState]
    objects: Mapping[type, frozenset[Any]]
    """Objects of `testbed.plan.objects.kinds`, without the kernel's own, but with connected routes."""
    refusals: frozenset[str]
    """Routes of other types, in the format of `ip route`: `prohibit 10.0.0.0/8`."""
    associations: frozenset[str]
    """IPsec associations, as `SOURCE > TARGET`."""
    tables: frozenset[str]
    """Tables of nftables, as `inet filter`."""
    classifying: frozenset[str]
    """Devices with a clsact qdisc, to which tc can attach programs."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """The requested sysctls, without those that the kernel lacks."""
    datapaths: dict[str, DatapathState] = field(default_factory=dict)
    """Datapaths of Open vSwitch, by name."""
    rulesets: dict[Backend, Whole] = field(default_factory=dict)
    """Rules of the requested backends."""
    bpf: BpfState | None = None
    """The requested eBPF programs."""

    def of(self, kind: type[T]) -> frozenset[T]:
        """The objects of that type."""
        return self.objects[kind]


def state(
    sysctls: Iterable[Sysctl] = (), rulesets: Mapping[Backend, Iterable[str]] | None = None, bpf: Bpf | None = None
) -> State:
    """The state of the calling thread's namespace, with these sysctls, the rules of these backends (of nftables only in
    these tables), and these programs."""
    with Sysctls() as settings:
        values = settings.values(sysctls)
    with connect() as sock:
        links = list(_links(sock))
        names = {link.index: link.name for link in links}
        answers: dict[tuple[int, bytes], list[memoryview]] = {}
        for question in (question for kind in KINDS.values() for question in kind.dumps):
            if question not in answers:
                answers[question] = list(dump(sock, *question))
    routes_there = [payload for question in ROUTES.dumps for payload in answers[question]]
    return State(
        devices={link.name: _device(link, names) for link in links},
        objects={
            kind.type: frozenset(
                _read(kind, (payload for question in kind.dumps for payload in answers[question]), names)
            )
            for kind in KINDS.values()
        },
        refusals=frozenset(filter(None, map(refusal_in, routes_there))),
        associations=frozenset(_associations()),
        tables=frozenset(nft_tables()),
        classifying=frozenset(
            names[found[0]] for payload in answers[QUEUE_DUMPS[0]] if (found := options_of(payload, "clsact"))
        ),
        sysctls=values,
        datapaths={link.name: datapath_state(link.name) for link in links if link.kind in DATAPATHS.names},
        rulesets=listed(rulesets or {}),
        bpf=state_of(bpf, {name: index for index, name in names.items()}) if bpf else None,
    )


def _read(kind: ObjectKind[T], payloads: Iterable[memoryview], names: Mapping[int, str]) -> Iterator[T]:
    for payload in payloads:
        if (item := kind.read(payload, names)) is not None:
            yield item


def routes() -> frozenset[Route]:
    """The routes of the calling thread's namespace, as in `State`."""
    with connect() as sock:
        names = _names(sock)
        payloads = [payload for question in ROUTES.dumps for payload in dump(sock, *question)]
    return frozenset(_read(ROUTES, payloads, names))


def _names(sock: socket.socket) -> dict[int, str]:
    return {link.index: link.name for link in _links(sock)}


def connected(addresses: Iterable[DeviceAddress]) -> Iterator[Route]:
    """The connected routes that the kernel makes of addresses, while their devices are up."""
    for item in addresses:
        network = item.interface.network
        if not item.noprefixroute and (network.prefixlen < network.max_prefixlen or network.version == 6):
            yield Route(network, item.dev)


def unanswered() -> tuple[tuple[Address, str], ...]:
    """Neighbours that do not answer ARP or NDP in the calling thread's namespace, each with the device.

    Those that are being asked now; if there are none, those that did not answer in the past minute or so.
    """
    with connect() as sock:
        names = _names(sock)
        payloads = [payload for question in NEIGHBOURS.dumps for payload in dump(sock, *question)]
    return tuple(_in_state(NUD_INCOMPLETE, payloads, names)) or tuple(_in_state(NUD_FAILED, payloads, names))


def _in_state(wanted: int, payloads: Iterable[memoryview], names: Mapping[int, str]) -> Iterator[tuple[Address, str]]:
    for payload in payloads:
        family, index, state, _, _ = NEIGHBOUR_HEADER.unpack_from(payload)
        if family in (socket.AF_INET, socket.AF_INET6) and state & wanted:
            yield address_in(attributes(payload, NEIGHBOUR_HEADER.size)[NDA_DST]), names[index]


def _links(sock: socket.socket) -> Iterator[_Link]:
    """All devices."""
    for payload in dump(sock, RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, _, index, flags, _ = _LINK.unpack_from(payload)
        found = attributes(payload, _LINK.size)
        info = attributes(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
        kind = text_in(info[_INFO_KIND]) if _INFO_KIND in info else ""
        data = attributes(info[_INFO_DATA]) if _INFO_DATA in info else {}
        yield _Link(index, text_in(found[_IFLA_IFNAME]), flags, kind, found, data)


def _device(link: _Link, names: Names) -> DeviceState:
    found = link.attributes
    return DeviceState(
        name=link.name,
        index=link.index,
        kind=link.kind,
        mac=mac_in(found[_IFLA_ADDRESS]) if _IFLA_ADDRESS in found else "",
        mtu=number_in(found[_IFLA_MTU]),
        up=bool(link.flags & IFF_UP),
        master=names.get(number_in(found[_IFLA_MASTER]), "") if _IFLA_MASTER in found else "",
        arp=not link.flags & IFF_NOARP,
        promiscuous=bool(link.flags & IFF_PROMISC),
        details=_READERS[link.kind](link.kind, link.data, names) if link.data and link.kind in _READERS else "",
        link=number_in(found[_IFLA_LINK]) if _IFLA_LINK in found else 0,
        link_space=number_in(found[_IFLA_LINK_NETNSID]) if _IFLA_LINK_NETNSID in found else None,
        mode=mode_in(link.kind, link.data),
    )


def _associations() -> Iterator[str]:
    """IPsec associations; none on a kernel without IPsec."""
    with suppress(OSError), connect(_NETLINK_XFRM) as sock:
        for found in dump(sock, _XFRM_MSG_GETSA, b""):
            size = 16 if struct.unpack_from("=H", found, _XFRM_FAMILY_AT)[0] == socket.AF_INET6 else 4
            source, target = (bytes(found[at : at + size]) for at in (_XFRM_SOURCE_AT, _XFRM_TARGET_AT))
            yield f"{ipaddress.ip_address(source)} > {ipaddress.ip_address(target)}"


def nft_tables() -> Iterator[str]:
    """Tables of nftables; none on a kernel without it."""
    with suppress(OSError), connect(_NETLINK_NETFILTER) as sock:
        for found in dump(sock, _NFT_GETTABLE, bytes(_NFGENMSG_SIZE)):
            name = text_in(attributes(found, _NFGENMSG_SIZE)[_NFTA_TABLE_NAME])
            yield f"{_NFT_FAMILIES.get(found[0], found[0])} {name}"
