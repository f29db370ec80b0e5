"""Ranges of cluster addresses and node ports, and the numbers in use.

The API server divides each range: numbers that it chooses itself are from the upper band, as long as this has free
ones, so that a number that a manifest asks for in the lower band is rarely taken.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from testbed.kubernetes.kinds import kind_of
from testbed.kubernetes.models.core import NODE_PORTS
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.state import ClusterState, Key, Metadata, Resource
from testbed.spec.types import Network

NAME = "kubernetes"
"""Name of the ServiceCIDR with the cluster's ranges, and of the API server's Service."""
DEFAULT_RANGES = ("10.96.0.0/12", "fd00:10::/108")
"""Ranges of a cluster whose topology is not known."""
NODE_PORT_RANGE = "testbed/service-node-port-range"
"""Annotation of the ServiceCIDR with a range of node ports that differs from the default, such as `30000-30100`."""
_KIND = kind_of("networking.k8s.io/v1", "ServiceCIDR")
assert _KIND is not None
SERVICE_CIDR = _KIND


NodePort = tuple[int, str]
"""Number and protocol."""


class Full(Exception):
    """A range has no free number."""


@dataclass(frozen=True)
class Ranges:
    """Ranges of a cluster's Services."""

    networks: tuple[Network, ...]
    """At most one per family; that of the cluster's primary family first."""
    node_ports: tuple[int, int] = NODE_PORTS
    """First and last."""

    @property
    def families(self) -> tuple[str, ...]:
        """`IPv4`, `IPv6`, the primary one first."""
        return tuple(f"IPv{one.version}" for one in self.networks)

    def network(self, family: str) -> Network:
        """The range of a family. Raises KeyError."""
        return {f"IPv{one.version}": one for one in self.networks}[family]


def service_cidr(networks: Iterable[str], node_ports: tuple[int, int] = NODE_PORTS) -> Resource:
    """The ServiceCIDR object that has the ranges."""
    annotations = {} if node_ports == NODE_PORTS else {NODE_PORT_RANGE: f"{node_ports[0]}-{node_ports[1]}"}
    spec = {"cidrs": list(networks)}
    return Resource(
        kind=SERVICE_CIDR,
        metadata=Metadata(name=NAME, annotations=annotations),
        typed=Object.model_construct(),
        body={"spec": spec},
    )


def ranges_of(state: ClusterState) -> Ranges:
    """The ranges of a cluster."""
    one = state.of(SERVICE_CIDR).get(("", NAME))
    if one is None:
        return Ranges(tuple(map(ip_network, DEFAULT_RANGES)))
    first, _, last = one.metadata.annotations.get(NODE_PORT_RANGE, "").partition("-")
    ports = (int(first), int(last)) if last else NODE_PORTS
    return Ranges(tuple(map(ip_network, one.body["spec"]["cidrs"])), ports)


@dataclass
class Numbers:
    """Addresses and node ports of Services in use. Changes while objects are applied."""

    ranges: Ranges
    seed: int = 0
    version: int = 0
    """With `seed`, on what choices depend: a Service that is made again gets other numbers."""
    addresses: dict[str, str] = field(default_factory=dict)
    """The Service of each address, as `namespace/name`."""
    ports: dict[NodePort, str] = field(default_factory=dict)
    reserved: set[str | int] = field(default_factory=set)
    """Addresses and ports of Services that are applied again: others get them if they ask, but not by chance."""

    def claim(self, owner: str, spec: Mapping[str, Any]) -> None:
        """Records the numbers in a Service's spec."""
        self.addresses.update((one, owner) for one in addresses_in(spec))
        self.ports.update((one, owner) for one in ports_in(spec))

    def release(self, owner: str, spec: Mapping[str, Any]) -> None:
        """Frees the numbers of a Service."""
        for address in addresses_in(spec):
            if self.addresses.get(address) == owner:
                del self.addresses[address]
        for port in ports_in(spec):
            if self.ports.get(port) == owner:
                del self.ports[port]

    def free_address(self, owner: str, family: str) -> str:
        """An address for a Service. Raises Full."""
        network = self.ranges.network(family)
        first = int(network.network_address)
        count = network.num_addresses - (2 if network.version == 4 else 1)
        chosen = (
            str(ip_address(first + 1 + offset))
            for offset in self._offsets(count, static_addresses(count + 1), f"{owner} {family}")
        )
        address = next((one for one in chosen if one not in self.addresses and one not in self.reserved), None)
        if address is None:
            raise Full(f"failed to allocate an address: the range {network} is full")
        return address

    def free_port(self, owner: str, what: str, own: Collection[int]) -> int:
        """A node port for a port of a Service that already has the ports `own`. Raises Full."""
        first, last = self.ranges.node_ports
        count = last - first + 1
        taken = {port for port, _ in self.ports} | self.reserved | set(own)
        offsets = self._offsets(count, static_ports(count), f"{owner} {what}")
        port = next((first + one for one in offsets if first + one not in taken), None)
        if port is None:
            raise Full(f"failed to allocate a nodePort: the range {first}-{last} is full")
        return port

    def _offsets(self, count: int, band: int, what: str) -> Iterator[int]:
        """All numbers below `count` in the order of trying: the upper band from a random start, then the lower one."""
        upper = count - band
        start = _random(upper, self.seed, self.version, what) if upper > 0 else 0
        yield from (band + (start + step) % upper for step in range(upper))
        yield from range(min(band, count))


def numbers_of(state: ClusterState, replaced: Collection[Key] = ()) -> Numbers:
    """The numbers in use in a cluster. Services that are `replaced` have none until they are admitted again."""
    numbers = Numbers(ranges_of(state), state.seed, state.version)
    for (namespace, name), one in state.of("Service").items():
        spec = one.body.get("spec", {})
        if (namespace, name) in replaced:
            numbers.reserved |= {*addresses_in(spec), *(port for port, _ in ports_in(spec))}
        else:
            numbers.claim(f"{namespace}/{name}", spec)
    return numbers


def addresses_in(spec: Mapping[str, Any]) -> list[str]:
    """The cluster addresses in a Service's spec."""
    written = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [str(ip_address(one)) for one in written if one and one != "None"]


def ports_in(spec: Mapping[str, Any]) -> set[NodePort]:
    """The node ports in a Service's spec, with that of its health check."""
    found = {
        (port["nodePort"], port.get("protocol", "TCP")) for port in spec.get("ports") or () if port.get("nodePort")
    }
    health = spec.get("healthCheckNodePort")
    return found | {(health, "TCP")} if health else found


def static_addresses(size: int) -> int:
    """Size of the lower band of a range of addresses."""
    return 0 if size < 16 else min(max(16, size // 16), 256)


def static_ports(size: int) -> int:
    """Size of the lower band of a range of node ports."""
    return 0 if size < 16 else min(max(16, size // 32), 128)


def _random(below: int, *parts: object) -> int:
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % below
