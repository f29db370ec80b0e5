"""A plan in the making: what a design function adds objects to before it returns the finished plan."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from testbed.plan.naming import mac_address
from testbed.plan.objects import (
    Bridge,
    DeviceAddress,
    FdbEntry,
    Kind,
    Link,
    Neighbour,
    Plan,
    Route,
    Space,
    Sysctl,
    TokenBucket,
    Veth,
    VethEnd,
    Vxlan,
)
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
    _indices: Iterator[int]
    _sysctls: dict[str, Sysctl] = field(default_factory=dict)
    _links: list[Link] = field(default_factory=list)
    _addresses: list[DeviceAddress] = field(default_factory=list)
    _neighbours: list[Neighbour] = field(default_factory=list)
    _fdb: list[FdbEntry] = field(default_factory=list)
    _routes: list[Route] = field(default_factory=list)
    _token_buckets: list[TokenBucket] = field(default_factory=list)

    def sysctl(self, key: str, value: int, optional: bool = False) -> None:
        """Sets a kernel setting; a later value replaces an earlier one."""
        self._sysctls[key] = Sysctl(key, str(value), optional)

    def bridge(self, name: str, mtu: int) -> None:
        self._links.append(Bridge(name, next(self._indices), mac_address(self.name, name), mtu))
        # Bridged frames stay out of the IP layer's hooks. Kernels with br_netfilter turn them on in each new
        # namespace, kernels without it have no such key; either way the design is the same.
        for table in ("iptables", "ip6tables", "arptables"):
            self.sysctl(f"net.bridge.bridge-nf-call-{table}", 0, optional=True)

    def vxlan(self, name: str, mtu: int, vni: int, port: int, local: Address) -> None:
        self._links.append(Vxlan(name, next(self._indices), mac_address(self.name, name), mtu, vni, port, local))

    def address(self, dev: str, interface: Interface) -> None:
        self._addresses.append(DeviceAddress(dev, interface))

    def neighbour(self, address: Address, mac: str, dev: str) -> None:
        self._neighbours.append(Neighbour(address, mac, dev))

    def fdb(self, mac: str, dev: str, remote: Address) -> None:
        self._fdb.append(FdbEntry(mac, dev, remote))

    def route(self, to: Network, dev: str, via: Address | None = None, onlink: bool = False) -> None:
        self._routes.append(Route(to, dev, via, onlink))

    def token_bucket(self, dev: str, rate: int, burst: int, limit: int) -> None:
        self._token_buckets.append(TokenBucket(dev, rate, burst, limit))

    def finished(self) -> Space:
        return Space(
            self.name,
            self.kind,
            tuple(self._sysctls.values()),
            tuple(self._links),
            tuple(self._addresses),
            tuple(self._neighbours),
            tuple(self._fdb),
            tuple(self._routes),
            tuple(self._token_buckets),
            self.node,
            self.reached_at,
        )


class Draft:
    """All namespaces and veth pairs of a plan in the making."""

    def __init__(self) -> None:
        self._spaces: dict[str, SpaceDraft] = {}
        self._veths: list[Veth] = []
        self._indices = count(FIRST_INDEX)

    def __getitem__(self, name: str) -> SpaceDraft:
        return self._spaces[name]

    def space(self, name: str, kind: Kind, node: str | None = None, reached_at: tuple[Address, ...] = ()) -> SpaceDraft:
        """Adds a namespace."""
        self._spaces[name] = SpaceDraft(name, kind, node, reached_at, self._indices)
        return self._spaces[name]

    def veth(
        self,
        a: tuple[str, str],
        b: tuple[str, str],
        mtu: int,
        a_master: str | None = None,
        b_master: str | None = None,
    ) -> None:
        """Adds a veth pair between two (space, interface name) places."""
        self._veths.append(
            Veth(
                VethEnd(*a, next(self._indices), mac_address(*a), mtu, a_master),
                VethEnd(*b, next(self._indices), mac_address(*b), mtu, b_master),
            )
        )

    def finished(self, topology: str, design: str, pod_mtu: int) -> Plan:
        spaces = tuple(space.finished() for space in self._spaces.values())
        _check_names(spaces, self._veths)
        return Plan(topology, design, pod_mtu, spaces, tuple(self._veths))


def _check_names(spaces: tuple[Space, ...], veths: list[Veth]) -> None:
    """Two devices of one name in one space would be a mistake of the design's, not of the user's."""
    names = [(space.name, link.name) for space in spaces for link in space.links]
    names += [(end.space, end.name) for veth in veths for end in (veth.a, veth.b)]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"two devices of one name in one namespace: {sorted(twice)}")
