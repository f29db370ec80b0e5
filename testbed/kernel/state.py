"""Read the state of a namespace from the kernel, as objects of a plan."""

import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from testbed.kernel.bpf import BpfState, state_of
from testbed.kernel.datapath import DatapathState, datapath_state
from testbed.kernel.dumped import IFLA_MASTER, Dumped, Link, links
from testbed.kernel.netlink import connect, dump
from testbed.kernel.others import others
from testbed.kernel.others.firewall import NFT_FAMILIES, rules_of, tables_with_chains
from testbed.kernel.others.ipsec import Association, Policy, associations, policies
from testbed.kernel.rulesets import listed
from testbed.kernel.sysctls import Sysctls
from testbed.plan.messages import address_in, attributes, mac_in, number_in, text_in
from testbed.plan.objects import Bpf, DeviceAddress, Other, Route, Sysctl
from testbed.plan.objects.child import mode_in
from testbed.plan.objects.datapath import DATAPATHS
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.link_kind import Names
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.neighbours import NDA_DST, NEIGHBOUR_HEADER, NEIGHBOURS
from testbed.plan.objects.queues import QUEUE_DUMPS, options_of
from testbed.plan.objects.routes import ROUTES, refusal_in
from testbed.plan.rulesets import Backend, iptables
from testbed.plan.rulesets.merge import Whole
from testbed.plan.uapi import IFF_NOARP, IFF_PROMISC, IFF_UP, NUD_FAILED, NUD_INCOMPLETE
from testbed.spec.types import Address

T = TypeVar("T")
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_LINK, _IFLA_LINK_NETNSID = 1, 4, 5, 37
_READERS = {name: kind.read for kind in LINK_KINDS.values() for name in kind.names}
"""Readers of a device's parameters, by the kernel's name of its kind."""
_NETLINK_NETFILTER = 12
_NFT_GETTABLE = (10 << 8) | 1
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
class State:
    """The state of a namespace, as far as a plan can describe it."""

    devices: dict[str, DeviceState]
    objects: Mapping[type, frozenset[Any]]
    """Objects of `testbed.plan.objects.kinds`, without the kernel's own, but with connected routes."""
    refusals: frozenset[str]
    """Routes of other types, in the format of `ip route`: `prohibit 10.0.0.0/8`."""
    associations: frozenset[Association]
    policies: frozenset[Policy]
    tables: frozenset[str]
    """Tables of nftables, as `inet filter`."""
    rules_of_tables: Mapping[str, tuple[str, ...]]
    """The rules of tables that were not requested, except those that iptables-save lists."""
    classifying: frozenset[str]
    """Devices with a clsact qdisc, to which tc can attach programs."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """The requested sysctls, without those that the kernel lacks."""
    datapaths: dict[str, DatapathState] = field(default_factory=dict)
    """Datapaths of Open vSwitch, by name."""
    rulesets: dict[Backend, Whole] = field(default_factory=dict)
    """Rules of the requested backends, and of iptables if it has tables there."""
    bpf: BpfState | None = None
    """The requested eBPF programs."""
    others: tuple[Other, ...] = ()
    """In an order in which they can be removed."""

    def of(self, kind: type[T]) -> frozenset[T]:
        """The objects of that type."""
        return self.objects[kind]


def state(
    sysctls: Iterable[Sysctl] = (), rulesets: Mapping[Backend, Iterable[str]] | None = None, bpf: Bpf | None = None
) -> State:
    """The state of the calling thread's namespace, with these sysctls, the rules of these backends (of nftables only in
    these tables), and these programs."""
    planned, wanted = tuple(sysctls), dict(rulesets or {})
    with Sysctls() as settings:
        values = settings.values(planned)
    tables = frozenset(nft_tables())
    for backend, family in iptables.FAMILIES.items():
        has_tables = not tables.isdisjoint(f"{family} {table}" for table in iptables.TABLES)
        if has_tables and backend not in wanted and shutil.which(f"{backend}-save"):
            wanted[backend] = ()
    own = {table for named in wanted.values() for table in named}
    with connect() as sock:
        dumped = Dumped(sock)
        objects = {
            kind.type: frozenset(_read(kind, dumped.answers(*kind.dumps), dumped.names)) for kind in KINDS.values()
        }
        further = tuple(others(dumped, planned, bpf.hooks if bpf else (), "ipset" in wanted, "ipvs" in wanted))
        refusals = frozenset(filter(None, map(refusal_in, dumped.answers(*ROUTES.dumps))))
        queues = [found for payload in dumped.answers(*QUEUE_DUMPS) if (found := options_of(payload, "clsact"))]
    rules = listed(wanted)
    # Listing rules of iptables, and removing the last chain, leaves empty tables, which do nothing.
    understood = {
        *(table for backend in iptables.FAMILIES if backend in rules for table in iptables.tables(rules[backend])),
        *(table for table in tables - tables_with_chains() if iptables.is_table(table)),
    }
    return State(
        devices={link.name: _device(link, dumped.names) for link in dumped.links},
        objects=objects,
        refusals=refusals,
        associations=frozenset(associations()),
        policies=frozenset(policies()),
        tables=tables,
        rules_of_tables={table: rules_of(table) for table in sorted(tables - own - understood)},
        classifying=frozenset(dumped.names[found[0]] for found in queues),
        sysctls=values,
        datapaths={link.name: datapath_state(link.name) for link in dumped.links if link.kind in DATAPATHS.names},
        rulesets=rules,
        bpf=state_of(bpf, {name: index for index, name in dumped.names.items()}) if bpf else None,
        others=further,
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
    return {link.index: link.name for link in links(sock)}


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


def _device(link: Link, names: Names) -> DeviceState:
    found = link.attributes
    return DeviceState(
        name=link.name,
        index=link.index,
        kind=link.kind,
        mac=mac_in(found[_IFLA_ADDRESS]) if _IFLA_ADDRESS in found else "",
        mtu=number_in(found[_IFLA_MTU]),
        up=bool(link.flags & IFF_UP),
        master=names.get(number_in(found[IFLA_MASTER]), "") if IFLA_MASTER in found else "",
        arp=not link.flags & IFF_NOARP,
        promiscuous=bool(link.flags & IFF_PROMISC),
        details=_READERS[link.kind](link.kind, link.data, names) if link.data and link.kind in _READERS else "",
        link=number_in(found[_IFLA_LINK]) if _IFLA_LINK in found else 0,
        link_space=number_in(found[_IFLA_LINK_NETNSID]) if _IFLA_LINK_NETNSID in found else None,
        mode=mode_in(link.kind, link.data),
    )


def nft_tables() -> Iterator[str]:
    """Tables of nftables; none on a kernel without it."""
    with suppress(OSError), connect(_NETLINK_NETFILTER) as sock:
        for found in dump(sock, _NFT_GETTABLE, bytes(_NFGENMSG_SIZE)):
            name = text_in(attributes(found, _NFGENMSG_SIZE)[_NFTA_TABLE_NAME])
            yield f"{NFT_FAMILIES.get(found[0], found[0])} {name}"
