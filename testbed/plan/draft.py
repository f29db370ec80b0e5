"""A plan in the making: what a design function adds objects to before it returns the finished plan."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from testbed.plan.allocation import Allocator
from testbed.plan.naming import mac_address
from testbed.plan.objects import (
    BOOT,
    LINKS,
    MAIN_TABLE,
    Bpf,
    BpfEntry,
    BpfHook,
    Bridge,
    Child,
    CountingMap,
    Datapath,
    DeviceAddress,
    Encapsulation,
    FdbEntry,
    File,
    Flow,
    Geneve,
    IpTunnel,
    Kind,
    Link,
    Neighbour,
    NextHop,
    Object,
    Plan,
    Plugged,
    Route,
    Space,
    Sysctl,
    Tun,
    TunnelKind,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
    WireguardPeer,
)
from testbed.plan.rulesets import Backend, Chain, Ruleset, Set
from testbed.spec.types import Address, Interface, Network

FIRST_INDEX = 101
"""Behind the numbers of devices that some kernels put into each new namespace (tunl0, sit0, ...)."""


@dataclass
class SpaceDraft:
    """A namespace in the making; its methods read like the commands that they stand for."""

    name: str
    kind: Kind
    node: str | None
    reached_at: tuple[Address, ...]
    _index: Callable[[str, str], int]
    _sysctls: dict[str, Sysctl] = field(default_factory=dict)
    _objects: list[Object] = field(default_factory=list)
    masked_by: tuple[Address, ...] = ()

    @property
    def links(self) -> tuple[Link, ...]:
        """Those so far, without ends of pairs."""
        return tuple(item for item in self._objects if isinstance(item, LINKS))

    def add(self, item: Object) -> None:
        """Any object; the methods below are for those that are made in many places."""
        self._objects.append(item)

    def sysctl(self, key: str, value: int, optional: bool = False, dev: str = "") -> None:
        """Sets a kernel setting; a later value replaces an earlier one. That of a device has slashes for dots."""
        self._sysctls[key] = Sysctl(key, str(value), optional, dev)

    def bridge(self, name: str, mtu: int, promiscuous: bool = False, checksums: bool = True) -> None:
        mac = mac_address(self.name, name)
        self._objects.append(Bridge(name, self._index(self.name, name), mac, mtu, promiscuous, checksums=checksums))
        # Bridged frames stay out of the IP layer's hooks. Kernels with br_netfilter turn them on in each new
        # namespace, kernels without it have no such key; either way the design is the same.
        for table in ("iptables", "ip6tables", "arptables"):
            self.sysctl(f"net.bridge.bridge-nf-call-{table}", 0, optional=True)

    def vxlan(
        self,
        name: str,
        mtu: int,
        vni: int,
        port: int,
        local: Address | None,
        *,
        learning: bool = False,
        external: bool = False,
        group: Address | None = None,
        dev: str = "",
        master: str | None = None,
        mac: str = "",
    ) -> None:
        mac = mac or mac_address(self.name, name)
        index = self._index(self.name, name)
        self._objects.append(Vxlan(name, index, mac, mtu, vni, port, local, learning, external, group, dev, master))

    def geneve(self, name: str, mtu: int, port: int) -> None:
        self._objects.append(Geneve(name, self._index(self.name, name), mac_address(self.name, name), mtu, port))

    def ip_tunnel(
        self, name: str, mtu: int, kind: TunnelKind, local: Address | None, remote: Address | None = None
    ) -> None:
        self._objects.append(IpTunnel(name, self._index(self.name, name), mtu, kind, local, remote))

    def wireguard(self, name: str, mtu: int, port: int, peers: Iterable[WireguardPeer], mark: int = 0) -> None:
        self._objects.append(Wireguard(name, self._index(self.name, name), mtu, port, tuple(peers), mark))

    def tun(self, name: str, mtu: int) -> None:
        self._objects.append(Tun(name, self._index(self.name, name), mtu))

    def datapath(self, name: str, mtu: int, ports: Sequence[str], flows: Iterable[Flow]) -> None:
        mac = mac_address(self.name, name)
        self._objects.append(Datapath(name, self._index(self.name, name), mac, mtu, tuple(ports), tuple(flows)))

    def address(self, dev: str, interface: Interface, noprefixroute: bool = False) -> None:
        self._objects.append(DeviceAddress(dev, interface, noprefixroute))

    def neighbour(self, address: Address, mac: str, dev: str) -> None:
        self._objects.append(Neighbour(address, mac, dev))

    def fdb(self, mac: str, dev: str, remote: Address) -> None:
        self._objects.append(FdbEntry(mac, dev, remote))

    def route(
        self,
        to: Network,
        dev: str,
        via: Address | None = None,
        onlink: bool = False,
        encap: Encapsulation | None = None,
        source: Address | None = None,
        *,
        table: int = MAIN_TABLE,
        protocol: int = BOOT,
    ) -> None:
        self._objects.append(Route(to, dev, via, onlink, encap, source=source, table=table, protocol=protocol))

    def routes(self, to: Network, hops: Sequence[NextHop], source: Address | None = None) -> None:
        """A route by one or several ways; own packets have that source, unless they have another one already."""
        if len(hops) == 1:
            self._objects.append(Route(to, hops[0].dev, hops[0].via, source=source))
        else:
            self._objects.append(Route(to, "", nexthops=tuple(hops), source=source))

    def blackhole(self, to: Network, protocol: int = BOOT) -> None:
        self._objects.append(Route(to, "", blackhole=True, protocol=protocol))

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        self._objects.append(File(path, text, mode))

    def ruleset(self, owner: str, backend: Backend, chains: Iterable[Chain] = (), sets: Iterable[Set] = ()) -> None:
        """What an owner, one of `OWNERS`, has in a backend: rules in chains, sets."""
        self._objects.append(Ruleset(owner, backend, tuple(chains), tuple(sets)))

    def bpf(
        self,
        source: str,
        defines: Iterable[str],
        hooks: Iterable[BpfHook],
        entries: Iterable[BpfEntry],
        counts: Iterable[CountingMap] = (),
    ) -> None:
        """The eBPF programs of a space."""
        self._objects.append(Bpf(source, tuple(defines), tuple(hooks), tuple(entries), tuple(counts)))

    def finished(self) -> Space:
        objects = (*self._sysctls.values(), *self._objects)
        return Space(self.name, self.kind, objects, self.node, self.reached_at, self.masked_by)


class Draft:
    """All namespaces and veth pairs of a plan in the making."""

    def __init__(self, numbers: Allocator | None = None) -> None:
        self.numbers = numbers or Allocator()
        self._spaces: dict[str, SpaceDraft] = {}
        self._veths: list[Veth] = []
        self._children: list[Child] = []
        self._plugged: list[Plugged] = []

    def _index(self, space: str, device: str) -> int:
        """The number of a device, which no other one of the lab ever had."""
        return FIRST_INDEX + self.numbers.number("interface indices", (space, device))

    def __getitem__(self, name: str) -> SpaceDraft:
        return self._spaces[name]

    def space(self, name: str, kind: Kind, node: str | None = None, reached_at: tuple[Address, ...] = ()) -> SpaceDraft:
        """Adds a namespace."""
        self._spaces[name] = SpaceDraft(name, kind, node, reached_at, self._index)
        return self._spaces[name]

    def veth(
        self,
        a: tuple[str, str],
        b: tuple[str, str],
        mtu: int,
        a_master: str | None = None,
        b_master: str | None = None,
        *,
        a_mac: str = "",
        offload: bool = True,
        a_checksums: bool = True,
        b_checksums: bool = True,
        arp: bool = True,
    ) -> None:
        """Adds a veth pair between two (space, interface name) places."""
        self._veths.append(
            Veth(
                VethEnd(
                    *a,
                    self._index(*a),
                    a_mac or mac_address(*a),
                    mtu,
                    a_master,
                    offload,
                    checksums=a_checksums,
                    arp=arp,
                ),
                VethEnd(*b, self._index(*b), mac_address(*b), mtu, b_master, offload, checksums=b_checksums, arp=arp),
            )
        )

    def indices(self, space: str) -> dict[str, int]:
        """The numbers of a space's devices so far, by name, without those that share another one."""
        ends = (end for veth in self._veths for end in (veth.a, veth.b) if end.space == space)
        return {dev.name: dev.index for dev in (*self._spaces[space].links, *ends)}

    def netkit(self, a: tuple[str, str], b: tuple[str, str], mtu: int) -> None:
        """Adds a pair of netkit devices, the first of which is the primary one."""
        one, other = (VethEnd(*end, self._index(*end), "", mtu) for end in (a, b))
        self._veths.append(Veth(one, other, is_netkit=True))

    def macvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int) -> None:
        """Adds a macvlan device, whose parent is a device of a node."""
        self._children.append(
            Child(*place, self._index(*place), mac_address(*place), mtu, "macvlan", "bridge", *parent)
        )

    def ipvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int, mode: Literal["l2", "l3"]) -> None:
        """Adds an ipvlan device, whose parent is a device of a node."""
        self._children.append(Child(*place, self._index(*place), "", mtu, "ipvlan", mode, *parent))

    def plugged(self, plugged: Plugged) -> None:
        """Adds a pod's attachment that CNI plugins are to make."""
        self._plugged.append(plugged)

    def finished(self, topology: str, design: str, pod_mtu: int) -> Plan:
        spaces = tuple(space.finished() for space in self._spaces.values())
        _check_names(spaces, self._veths, self._children)
        return Plan(
            topology,
            design,
            pod_mtu,
            spaces,
            tuple(self._veths),
            tuple(self._children),
            tuple(self._plugged),
            allocation=self.numbers.finished(),
        )


def _check_names(spaces: tuple[Space, ...], veths: list[Veth], children: list[Child]) -> None:
    """Two devices of one name in one space would be a mistake of the design's, not of the user's."""
    names = [(space.name, link.name) for space in spaces for link in space.links]
    names += [(end.space, end.name) for veth in veths for end in (veth.a, veth.b)]
    names += [(child.space, child.name) for child in children]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"two devices of one name in one namespace: {sorted(twice)}")
