"""Ports of Services with their endpoints, as proxies read them, and the endpoints that one node uses.

A proxy serves each port of each Service apart, and each family apart. It reads EndpointSlices, whoever made them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from operator import is_

from testbed.kubernetes.models.core import EXPOSED, Service
from testbed.kubernetes.models.discovery import EndpointSlice
from testbed.kubernetes.services.slices import SERVICE_NAME
from testbed.kubernetes.state import ClusterState, Key, Resource

PROXY_NAME = "service.kubernetes.io/service-proxy-name"
"""Label of Services that another proxy serves."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod's address and port, or one by hand."""

    address: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] = ()
    """Zones whose clients should use it; empty for all."""
    nodes: tuple[str, ...] = ()
    """Nodes whose clients should use it; empty for all."""

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def is_draining(self) -> bool:
        """Whether it still serves while it terminates."""
        return self.serving and self.terminating


@dataclass(frozen=True)
class ServicePort:
    """A port of a Service in one family."""

    namespace: str
    service: str
    name: str
    """Empty for an unnamed port."""
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    family: int
    """4 or 6."""
    address: str
    """The cluster address."""
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    """All of them, also those that are not ready; sorted."""
    node_port: int = 0
    """0 if it has none."""
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    """The only sources that reach load balancer addresses; empty for all."""
    affinity_s: int = 0
    """How long a client stays with an endpoint; 0 without session affinity."""
    internal_local: bool = False
    """Whether the cluster address leads to endpoints of the client's node only."""
    external_local: bool = False
    """Whether other addresses lead to endpoints of the node that receives the packet only."""
    health_port: int = 0

    def __str__(self) -> str:
        """`namespace/service:port`, without the colon for an unnamed port."""
        return f"{self.namespace}/{self.service}{f':{self.name}' if self.name else ''}"

    @property
    def is_external(self) -> bool:
        """Whether it has an address or port besides the cluster address."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster(self) -> bool:
        """Whether it ever uses endpoints of all nodes: external addresses do, at least for clients in the cluster."""
        return not self.internal_local or self.is_external

    @property
    def uses_local(self) -> bool:
        return self.internal_local or (self.external_local and self.is_external)


@dataclass(frozen=True)
class Usable:
    """The endpoints of a port that one node uses.

    Usable endpoints are the ready ones, or, if no endpoint is ready, those that still serve while they terminate; this
    is decided for each of the two lists apart.
    """

    cluster: tuple[Endpoint, ...] = ()
    """For traffic that may go to any node; nearer ones only, if all have hints and one fits."""
    local: tuple[Endpoint, ...] = ()
    """For traffic that must stay on the node."""
    exist: bool = False
    """Whether any node has a usable endpoint."""

    @cached_property
    def all(self) -> tuple[Endpoint, ...]:
        """Both lists, each endpoint once."""
        return tuple(dict.fromkeys((*self.cluster, *self.local))) if self.local else self.cluster


def usable(port: ServicePort, node: str, zone: str = "") -> Usable:
    """The endpoints of a port that a node uses."""
    if not port.endpoints:
        return Usable()
    ready = tuple(one for one in port.endpoints if one.ready)
    cluster = _nearest(ready, node, zone) or _draining(port.endpoints)
    local: tuple[Endpoint, ...] = ()
    if port.uses_local:
        here = tuple(one for one in port.endpoints if one.node == node)
        local = tuple(one for one in here if one.ready) or _draining(here)
    return Usable(cluster if port.uses_cluster else (), local, bool(cluster))


def _draining(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(one for one in endpoints if one.is_draining)


def _nearest(ready: tuple[Endpoint, ...], node: str, zone: str) -> tuple[Endpoint, ...]:
    """The endpoints whose hints name the node, else those that name its zone, else all."""
    if not ready or not (ready[0].nodes or ready[0].zones):
        return ready
    if all(one.nodes for one in ready) and (near := tuple(one for one in ready if node in one.nodes)):
        return near
    if all(one.zones for one in ready) and (near := tuple(one for one in ready if zone in one.zones)):
        return near
    return ready


def service_ports(state: ClusterState, family: int) -> tuple[ServicePort, ...]:
    """All ports that a proxy of the cluster serves in a family, in the order of namespaces and names.

    Ports of a Service that did not change, with its slices, are the same objects as before.
    """
    slices: dict[Key, list[Resource]] = {}
    for one in state.of("EndpointSlice").values():
        if name := one.labels.get(SERVICE_NAME):
            slices.setdefault((one.namespace, name), []).append(one)
    found: list[ServicePort] = []
    services = state.of("Service")
    for key in sorted(services):
        found += _remembered(services[key], slices.get(key, []), family)
    return tuple(found)


def _remembered(service: Resource, slices: list[Resource], family: int) -> tuple[ServicePort, ...]:
    """The ports of a Service; they are kept with the Service, and made again if its slices differ."""
    memory = vars(service).setdefault("_ports", {})
    known, ports = memory.get(family, ((), None))
    if ports is None or len(known) != len(slices) or not all(map(is_, known, slices)):
        ports = tuple(ports_of(service, slices, family))
        memory[family] = slices, ports
    return ports  # type: ignore[no-any-return]


def ports_of(service: Resource, slices: Iterable[Resource], family: int) -> Iterator[ServicePort]:
    """The ports of a Service in a family; none if no proxy of the cluster serves it."""
    assert isinstance(service.typed, Service)
    spec = service.typed.spec
    if spec.type == "ExternalName" or spec.is_headless or PROXY_NAME in service.labels:
        return
    address = next((one for one in spec.cluster_ips or (spec.cluster_ip or "",) if one and _family(one) == family), "")
    if not address:
        return
    endpoints = _endpoints(slices, family)
    config = spec.session_affinity_config
    affinity_s = config.client_ip.timeout_seconds if config and config.client_ip else 10800
    is_exposed = spec.type in EXPOSED
    for port in spec.ports:
        name, protocol = port.name or "", port.protocol.lower()
        yield ServicePort(
            namespace=service.namespace,
            service=service.name,
            name=name,
            protocol=protocol,
            family=family,
            address=str(ip_address(address)),
            port=port.port,
            endpoints=tuple(sorted(endpoints.get((name, protocol), ()), key=str)),
            node_port=(port.node_port or 0) if is_exposed else 0,
            external_ips=_of_family(spec.external_ips, family),
            load_balancer_ips=_of_family(_ingress(service), family) if spec.type == "LoadBalancer" else (),
            source_ranges=_ranges(spec.load_balancer_source_ranges, family),
            affinity_s=affinity_s if spec.session_affinity == "ClientIP" else 0,
            internal_local=spec.internal_traffic_policy == "Local",
            external_local=spec.external_traffic_policy == "Local",
            health_port=spec.health_check_node_port if spec.type == "LoadBalancer" else 0,
        )


def _endpoints(slices: Iterable[Resource], family: int) -> dict[tuple[str, str], list[Endpoint]]:
    """Endpoints by port name and protocol. An address that several slices have is one endpoint."""
    found: dict[tuple[str, str], dict[str, Endpoint]] = {}
    for one in slices:
        typed = one.typed
        assert isinstance(typed, EndpointSlice)
        if typed.address_type != f"IPv{family}":
            continue
        for port in typed.ports:
            own = found.setdefault((port.name, port.protocol.lower()), {})
            for each in typed.endpoints if port.port else ():
                assert port.port is not None
                state = each.conditions
                ready = state.ready is not False
                endpoint = Endpoint(
                    str(ip_address(each.addresses[0])),
                    port.port,
                    each.node_name or "",
                    ready,
                    ready if state.serving is None else state.serving,
                    bool(state.terminating),
                    tuple(hint.name for hint in each.hints.for_zones),
                    tuple(hint.name for hint in each.hints.for_nodes),
                )
                own[endpoint.address] = endpoint
    return {key: list(own.values()) for key, own in found.items()}


def _ingress(service: Resource) -> tuple[str, ...]:
    """The addresses of a load balancer: those in the status, else the one that the Service asks for."""
    assert isinstance(service.typed, Service)
    given = (service.status.get("loadBalancer") or {}).get("ingress") or ()
    addresses = tuple(one["ip"] for one in given if one.get("ip") and one.get("ipMode", "VIP") == "VIP")
    asked = service.typed.spec.load_balancer_ip
    return addresses if given or not asked else (asked,)


def _family(text: str) -> int:
    return 6 if ":" in text else 4


def _of_family(addresses: Iterable[str], family: int) -> tuple[str, ...]:
    return tuple(str(ip_address(one)) for one in addresses if _family(one) == family)


def _ranges(ranges: Iterable[str], family: int) -> tuple[str, ...]:
    return tuple(str(ip_network(one.strip(), strict=False)) for one in ranges if _family(one) == family)
