"""Objects of the core group besides pods: Namespace, Node, Service, ServiceAccount, ConfigMap, Secret."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.scheduling import Taint, duplicates
from testbed.kubernetes.models.values import (
    Address,
    Cidr,
    DataKeys,
    Items,
    Label,
    LabelKey,
    Labels,
    Port,
    PortOrName,
    Protocol,
    Quantity,
    Subdomain,
    within,
    word,
)
from testbed.spec.problems import Loc, Misfit

NODE_PORTS = (30000, 32767)
"""The API server's default range."""
MAX_SECRET = 1024 * 1024
"""Bytes of all values of a ConfigMap or Secret."""
EXPOSED = ("NodePort", "LoadBalancer")


class Namespace(Object):
    """A Namespace."""


class ServiceAccount(Object):
    """A ServiceAccount; kept."""


class NodeSpec(Model):
    """A node's ranges and taints."""

    pod_cidr: Cidr | None = Field(default=None, alias="podCIDR")
    pod_cidrs: Items[Cidr] = Field(default=(), alias="podCIDRs")
    taints: Items[Taint] = ()
    unschedulable: bool = False

    def misfits(self) -> Iterator[Misfit]:
        for misfit in duplicates(self.taints, lambda taint: ((), (taint.key, taint.effect)), "taint"):
            yield Misfit(("taints", *misfit.loc), misfit.message)
        if self.pod_cidr and self.pod_cidrs and self.pod_cidrs[0] != self.pod_cidr:
            yield Misfit(("podCIDRs", 0), f"must equal podCIDR {self.pod_cidr}, not {self.pod_cidrs[0]}")


class NodeAddress(Model):
    """An address of a node, by its type, such as InternalIP."""

    type: str
    address: str


class NodeStatus(Model):
    """A node's addresses, and what it has for pods."""

    addresses: Items[NodeAddress] = ()
    capacity: dict[str, Quantity] = Field(default_factory=dict)
    allocatable: dict[str, Quantity] = Field(default_factory=dict)


class Node(Object):
    """A Node."""

    spec: NodeSpec = Field(default_factory=NodeSpec)
    status: NodeStatus = Field(default_factory=NodeStatus)


class _Data(Object):
    """Values by key."""

    data: DataKeys = Field(default_factory=dict)

    def _data_misfits(self, key: str, other: dict[str, str]) -> Iterator[Misfit]:
        for name in other:
            if name in self.data:
                yield Misfit((key, name), f"the key '{name}' is in data too; remove one", at_key=True)
        size = sum(len(value) for values in (self.data, other) for value in values.values())
        if size > MAX_SECRET:
            yield Misfit(("data",), f"values can have at most 1 MiB in all, found {size} bytes", at_key=True)


class ConfigMap(_Data):
    """A ConfigMap; kept."""

    binary_data: DataKeys = Field(default_factory=dict)

    def misfits(self) -> Iterator[Misfit]:
        return self._data_misfits("binaryData", self.binary_data)


class Secret(_Data):
    """A Secret; kept."""

    string_data: DataKeys = Field(default_factory=dict)
    type: str = "Opaque"

    def misfits(self) -> Iterator[Misfit]:
        size = sum(map(len, self.data.values()))
        if size > MAX_SECRET:
            yield Misfit(("data",), f"values can have at most 1 MiB in all, found {size} bytes", at_key=True)


class ServicePort(Model):
    """A port of a Service."""

    port: Port
    name: Label | None = None
    protocol: Protocol = "TCP"
    target_port: PortOrName | None = None
    node_port: Annotated[int, within(0, 65535)] | None = None
    app_protocol: LabelKey | None = None


class ClientIpConfig(Model):
    """How long a client stays with an endpoint, in seconds."""

    timeout_seconds: Annotated[int, within(1, 86400)] = 10800


class AffinityConfig(Model):
    """Options of session affinity."""

    client_ip: ClientIpConfig | None = Field(default=None, alias="clientIP")


class ServiceSpec(Model):
    """A stable name and address of a set of pods."""

    type: Annotated[str, word("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")] = "ClusterIP"
    selector: Labels = Field(default_factory=dict)
    ports: Items[ServicePort] = ()
    cluster_ip: str | None = Field(default=None, alias="clusterIP")
    cluster_ips: Items[str] = Field(default=(), alias="clusterIPs")
    ip_families: Items[Annotated[str, word("IPv4", "IPv6")]] = ()
    ip_family_policy: Annotated[str, word("SingleStack", "PreferDualStack", "RequireDualStack")] | None = None
    external_ips: Items[Address] = Field(default=(), alias="externalIPs")
    external_name: Subdomain | None = None
    external_traffic_policy: Annotated[str, word("Cluster", "Local")] | None = None
    internal_traffic_policy: Annotated[str, word("Cluster", "Local")] = "Cluster"
    traffic_distribution: Annotated[str, word("PreferClose", "PreferSameZone", "PreferSameNode")] | None = None
    health_check_node_port: Annotated[int, within(0, 65535)] = 0
    load_balancer_ip: Address | None = Field(default=None, alias="loadBalancerIP")
    load_balancer_source_ranges: Items[Cidr] = ()
    load_balancer_class: LabelKey | None = None
    allocate_load_balancer_node_ports: bool | None = None
    session_affinity: Annotated[str, word("None", "ClientIP")] = "None"
    session_affinity_config: AffinityConfig | None = None
    publish_not_ready_addresses: bool = False

    @property
    def is_headless(self) -> bool:
        return "None" in (self.cluster_ip, *self.cluster_ips)

    def misfits(self) -> Iterator[Misfit]:
        yield from self._type_misfits()
        yield from self._address_misfits()
        yield from self._port_misfits()
        if self.session_affinity == "None" and self.session_affinity_config is not None:
            yield Misfit(("sessionAffinityConfig",), "requires `sessionAffinity: ClientIP`; remove it", at_key=True)

    def _type_misfits(self) -> Iterator[Misfit]:
        is_exposed, is_balanced = self.type in EXPOSED, self.type == "LoadBalancer"
        if self.type == "ExternalName" and not self.external_name:
            yield Misfit((), "`type: ExternalName` requires the field 'externalName'", at_key=True)
        if self.type == "ExternalName" and self.cluster_ip:
            yield Misfit(("clusterIP",), "`type: ExternalName` has no address; remove it", at_key=True)
        if self.external_traffic_policy and not is_exposed and not self.external_ips:
            yield Misfit(("externalTrafficPolicy",), "requires `type: NodePort` or `type: LoadBalancer`", at_key=True)
        if self.health_check_node_port and not (is_balanced and self.external_traffic_policy == "Local"):
            message = "requires `type: LoadBalancer` and `externalTrafficPolicy: Local`"
            yield Misfit(("healthCheckNodePort",), message, at_key=True)
        for key, value in (
            ("loadBalancerSourceRanges", self.load_balancer_source_ranges),
            ("loadBalancerClass", self.load_balancer_class),
            ("allocateLoadBalancerNodePorts", self.allocate_load_balancer_node_ports is not None),
        ):
            if value and not is_balanced:
                yield Misfit((key,), "requires `type: LoadBalancer`", at_key=True)

    def _address_misfits(self) -> Iterator[Misfit]:
        given: list[tuple[Loc, str]] = [(("clusterIPs", number), one) for number, one in enumerate(self.cluster_ips)]
        if self.cluster_ip:
            given.insert(0, (("clusterIP",), self.cluster_ip))
            if self.cluster_ips and self.cluster_ips[0] != self.cluster_ip:
                message = f"must equal clusterIP {self.cluster_ip}, not {self.cluster_ips[0]}"
                yield Misfit(("clusterIPs", 0), message)
        for loc, text in given:
            if text not in ("None", "") and _version(text) is None:
                yield Misfit(loc, f"must be an IP address or None, not '{text}'", valid=("None",))
        if self.is_headless and self.type in EXPOSED:
            yield Misfit(("clusterIP",), f"cannot be None with `type: {self.type}`")
        if len(set(self.ip_families)) < len(self.ip_families):
            yield Misfit(("ipFamilies",), "must have each family only once")
        if len(self.ip_families) > 1 and self.ip_family_policy in (None, "SingleStack"):
            yield Misfit(("ipFamilies",), "two families require `ipFamilyPolicy: PreferDualStack` or RequireDualStack")
        addresses = [one for one in (self.cluster_ips or (self.cluster_ip or "",)) if _version(one)]
        for one, family in zip(addresses, self.ip_families, strict=False):
            if f"IPv{_version(one)}" != family:
                yield Misfit(("ipFamilies",), f"{one} is an IPv{_version(one)} address, but its family is {family}")

    def _port_misfits(self) -> Iterator[Misfit]:
        if not self.ports and not self.is_headless and self.type != "ExternalName":
            yield Misfit((), "the field 'ports' is missing; a Service needs at least one port", at_key=True)
        names: set[str] = set()
        numbers: set[tuple[int, str]] = set()
        node_ports: set[tuple[int, str]] = set()
        for number, one in enumerate(self.ports):
            at: Loc = ("ports", number)
            if one.name is None and len(self.ports) > 1:
                yield Misfit(at, "the field 'name' is missing; each of several ports needs one", at_key=True)
            elif one.name in names:
                yield Misfit((*at, "name"), f"duplicate port name '{one.name}'")
            if (one.port, one.protocol) in numbers:
                yield Misfit((*at, "port"), f"duplicate port {one.port}/{one.protocol}")
            if one.node_port and self.type not in EXPOSED:
                yield Misfit((*at, "nodePort"), "requires `type: NodePort` or `type: LoadBalancer`", at_key=True)
            elif one.node_port and (one.node_port, one.protocol) in node_ports:
                yield Misfit((*at, "nodePort"), f"duplicate nodePort {one.node_port}/{one.protocol}")
            names.add(one.name or "")
            numbers.add((one.port, one.protocol))
            node_ports.add((one.node_port or 0, one.protocol))


def _version(text: str) -> int | None:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None


class Service(Object):
    """A Service."""

    spec: ServiceSpec = Field(default_factory=ServiceSpec)
