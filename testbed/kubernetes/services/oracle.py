"""What is right: the endpoints that a packet to a Service reaches, and the source address that they see.

This is independent of every proxy. The node that first handles a packet decides:

- a cluster address, a load balancer's and an external one: the client's own node, or the one that routes for a client
  outside the cluster;
- a node port: the node that has the address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Literal

from testbed.kubernetes.cluster import ZONE
from testbed.kubernetes.services.ports import Endpoint, ServicePort, Usable, service_ports, usable
from testbed.kubernetes.services.ranges import ranges_of
from testbed.kubernetes.state import ClusterState
from testbed.spec.types import Network

Verdict = Literal["endpoints", "reject", "drop", "none"]


@dataclass(frozen=True)
class Source:
    """Who sends a packet."""

    address: str
    node: str = ""
    """The node, or the node of the pod; empty for a host outside the cluster."""
    is_pod: bool = False
    """Whether it has an address of its own in the cluster's pod ranges; pods with hostNetwork are their node."""


@dataclass(frozen=True)
class Answer:
    """What becomes of a packet."""

    verdict: Verdict
    """`endpoints`: one of `endpoints` answers; `none`: no Service has this address and port."""
    endpoints: tuple[Endpoint, ...] = ()
    masked: Mapping[Endpoint, str] = field(default_factory=dict)
    """Endpoints that see an address of a node instead of the source's, with this node."""
    why: str = ""


NONE = Answer("none", why="no Service has this address and port")


@dataclass(frozen=True)
class Oracle:
    """The ports of all Services and the addresses of nodes, for one family."""

    ports: tuple[ServicePort, ...]
    nodes: Mapping[str, str]
    """Node of each address."""
    zones: Mapping[str, str]
    """Zone of each node that has one."""
    closed: tuple[Network, ...] = ()
    """Ranges of Services in which the proxy closes what no Service has; empty if it leaves that to the routes."""

    @cached_property
    def by_address(self) -> Mapping[tuple[str, int, str], ServicePort]:
        """Ports by cluster, external and load balancer address, port number and protocol."""
        found: dict[tuple[str, int, str], ServicePort] = {}
        for one in self.ports:
            for address in (one.address, *one.external_ips, *one.load_balancer_ips):
                found.setdefault((address, one.port, one.protocol), one)
        return found

    @cached_property
    def cluster_addresses(self) -> frozenset[str]:
        return frozenset(one.address for one in self.ports)

    @cached_property
    def by_node_port(self) -> Mapping[tuple[int, str], ServicePort]:
        return {(one.node_port, one.protocol): one for one in self.ports if one.node_port}

    def where(
        self, source: Source, address: str, port: int, protocol: str = "tcp", *, via: str = "", masks_pods: bool = False
    ) -> Answer:
        """What becomes of a packet from a source to an address and port.

        `via` is the node that handles packets of hosts outside the cluster. `masks_pods` says that packets of pods to
        addresses of other nodes carry the address of their node, as many CNIs have it.
        """
        address, protocol = str(ip_address(address)), protocol.lower()
        one = self.by_address.get((address, port, protocol))
        if one is not None:
            at = source.node or via
            return (
                self._internal(one, source, at) if address == one.address else self._external(one, source, at, address)
            )
        node = self.nodes.get(address, "")
        one = self.by_node_port.get((port, protocol)) if node else None
        if one is None:
            return self._unserved(address)
        is_masked = masks_pods and source.is_pod and source.node != node
        answer = self._external(one, Source(source.address) if is_masked else source, node)
        if not is_masked:
            return answer
        return Answer(
            answer.verdict, answer.endpoints, dict.fromkeys(answer.endpoints, source.node) | dict(answer.masked)
        )

    def _unserved(self, address: str) -> Answer:
        """What becomes of a packet to an address and port that no Service has."""
        if any(ip_address(address) in network for network in self.closed):
            if address in self.cluster_addresses:
                return Answer("reject", why=f"the Service at {address} does not have this port")
            return Answer("drop", why=f"no Service has the address {address}")
        return NONE

    def _usable(self, one: ServicePort, node: str) -> Usable:
        return usable(one, node, self.zones.get(node, ""))

    def _internal(self, one: ServicePort, source: Source, node: str) -> Answer:
        ways = self._usable(one, node)
        if not ways.exist:
            return Answer("reject", why=f"{one} has no endpoints")
        endpoints = ways.local if one.internal_local else ways.cluster
        if not endpoints:
            return Answer("drop", why=f"{one} has no endpoints on {node}, and internalTrafficPolicy is Local")
        return _reached(endpoints, source, node, is_masked=not source.is_pod)

    def _external(self, one: ServicePort, source: Source, node: str, address: str = "") -> Answer:
        ways = self._usable(one, node)
        if not ways.exist:
            return Answer("reject", why=f"{one} has no endpoints")
        if address in one.load_balancer_ips and not _is_in(source.address, one.source_ranges):
            return Answer("drop", why=f"{source.address} is not in loadBalancerSourceRanges of {one}")
        is_node = bool(source.node) and not source.is_pod and source.node == node
        if not one.external_local:
            return _reached(ways.cluster, source, node, is_masked=True)
        if source.is_pod or is_node:
            return _reached(ways.cluster, source, node, is_masked=is_node)
        if not ways.local:
            return Answer("drop", why=f"{one} has no endpoints on {node}, and externalTrafficPolicy is Local")
        return _reached(ways.local, source, node, is_masked=False)


def oracle(state: ClusterState, family: int, *, is_closed: bool = False) -> Oracle:
    """The oracle of a cluster's Services in a family.

    `is_closed`: the proxy rejects other ports of cluster addresses, and drops packets to addresses that no Service has.
    """
    nodes: dict[str, str] = {}
    zones: dict[str, str] = {}
    for (_, name), node in state.of("Node").items():
        nodes |= {one["address"]: name for one in node.status.get("addresses", ()) if one["type"] == "InternalIP"}
        if zone := node.labels.get(ZONE):
            zones[name] = zone
    closed = tuple(one for one in ranges_of(state).networks if one.version == family) if is_closed else ()
    return Oracle(service_ports(state, family), nodes, zones, closed)


def where(state: ClusterState, source: Source, address: str, port: int, protocol: str = "tcp") -> Answer:
    """What becomes of one packet; for many, make an `oracle` once."""
    return oracle(state, ip_address(address).version).where(source, address, port, protocol)


def _reached(endpoints: tuple[Endpoint, ...], source: Source, node: str, is_masked: bool) -> Answer:
    """An answer of endpoints; an endpoint that reaches itself always sees its node."""
    masked = {one: node for one in endpoints if is_masked or one.address == source.address}
    return Answer("endpoints", endpoints, masked)


def _is_in(address: str, ranges: Iterable[str]) -> bool:
    ranges = tuple(ranges)
    return not ranges or any(ip_address(address) in ip_network(one) for one in ranges)
