"""NetworkPolicies and Ingresses."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from testbed.kubernetes.models.meta import LabelSelector, Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.values import (
    Cidr,
    Items,
    Label,
    Port,
    PortName,
    PortOrName,
    Protocol,
    Subdomain,
    subdomain,
    word,
)
from testbed.spec.problems import Misfit


class IPBlock(Model):
    """A range of addresses, with ranges that are left out."""

    cidr: Cidr
    except_: Items[Cidr] = Field(default=(), alias="except")

    def misfits(self) -> Iterator[Misfit]:
        whole = ipaddress.ip_interface(self.cidr).network
        for number, text in enumerate(self.except_):
            part = ipaddress.ip_interface(text).network
            if part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
                yield Misfit(("except", number), f"must be a part of cidr {self.cidr}, not {text}")


class PolicyPeer(Model):
    """The other side of traffic that a policy allows."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None

    def misfits(self) -> Iterator[Misfit]:
        has_selector = self.pod_selector is not None or self.namespace_selector is not None
        if self.ip_block is not None and has_selector:
            yield Misfit(("ipBlock",), "cannot be used together with a selector; write two peers", at_key=True)
        elif self.ip_block is None and not has_selector:
            yield Misfit((), "must have a podSelector, a namespaceSelector or an ipBlock", at_key=True)


class PolicyPort(Model):
    """A port, or a range of ports."""

    protocol: Protocol = "TCP"
    port: PortOrName | None = None
    end_port: Port | None = None

    def misfits(self) -> Iterator[Misfit]:
        if self.end_port is None:
            return
        if not isinstance(self.port, int):
            what = "a port number" if self.port is None else "a port number, not a name"
            yield Misfit(("endPort",), f"requires `port` with {what}", at_key=True)
        elif self.end_port < self.port:
            yield Misfit(("endPort",), f"must be at least port {self.port}, not {self.end_port}")


class IngressRule(Model):
    """Traffic to pods that a policy allows; an empty list allows all."""

    from_: Items[PolicyPeer] = Field(default=(), alias="from")
    ports: Items[PolicyPort] = ()


class EgressRule(Model):
    """Traffic of pods that a policy allows; an empty list allows all."""

    to: Items[PolicyPeer] = ()
    ports: Items[PolicyPort] = ()


class NetworkPolicySpec(Model):
    """What may reach some pods, and what they may reach."""

    pod_selector: LabelSelector = Field(default_factory=LabelSelector)
    policy_types: Items[Annotated[str, word("Ingress", "Egress")]] = ()
    ingress: Items[IngressRule] = ()
    egress: Items[EgressRule] = ()

    def misfits(self) -> Iterator[Misfit]:
        if len(self.policy_types) > 2:
            yield Misfit(("policyTypes", 2), f"at most two types are allowed, found {len(self.policy_types)}")

    @property
    def types(self) -> frozenset[str]:
        """Directions that the policy isolates; by default Ingress, and Egress if it has egress rules."""
        return frozenset(self.policy_types or ("Ingress", *(("Egress",) if self.egress else ())))


class NetworkPolicy(Object):
    """A NetworkPolicy."""

    spec: NetworkPolicySpec = Field(default_factory=NetworkPolicySpec)


class BackendPort(Model):
    """A Service's port, by number or by name."""

    number: Port | None = None
    name: PortName | None = None

    def misfits(self) -> Iterator[Misfit]:
        if (self.number is None) == (self.name is None):
            yield Misfit((), "must have either a number or a name", at_key=True)


class ServiceBackend(Model):
    """A Service that gets requests."""

    name: Label
    port: BackendPort | None = None

    def misfits(self) -> Iterator[Misfit]:
        if self.port is None:
            yield Misfit((), "the field 'port' is missing", at_key=True)


class Backend(Model):
    """What gets requests."""

    service: ServiceBackend | None = None
    resource: dict[str, object] | None = None

    def misfits(self) -> Iterator[Misfit]:
        if (self.service is None) == (self.resource is None):
            yield Misfit((), "must have either a service or a resource", at_key=True)


class HttpPath(Model):
    """Requests by path."""

    path: str = ""
    path_type: Annotated[str, word("Exact", "Prefix", "ImplementationSpecific")]
    backend: Backend

    def misfits(self) -> Iterator[Misfit]:
        is_free = self.path_type == "ImplementationSpecific" and not self.path
        if not self.path.startswith("/") and not is_free:
            yield Misfit(("path",) if self.path else (), "a path must start with '/'", at_key=not self.path)
        elif any(part in self.path for part in ("//", "/./", "/../")) and self.path_type != "ImplementationSpecific":
            yield Misfit(("path",), "must not contain '//', '/./' or '/../'")


class HttpRules(Model):
    """Requests of a host."""

    paths: Items[HttpPath]

    def misfits(self) -> Iterator[Misfit]:
        if not self.paths:
            yield Misfit(("paths",), "must have at least one path")


class HostRule(Model):
    """Requests by host."""

    host: str = ""
    http: HttpRules | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from _host_misfits(self.host, ("host",))


class IngressTls(Model):
    """A certificate for some hosts."""

    hosts: Items[str] = ()
    secret_name: Subdomain | None = None

    def misfits(self) -> Iterator[Misfit]:
        for number, host in enumerate(self.hosts):
            yield from _host_misfits(host, ("hosts", number))


def _host_misfits(host: str, loc: tuple[str | int, ...]) -> Iterator[Misfit]:
    if not host:
        return
    try:
        ipaddress.ip_address(host)
        yield Misfit(loc, f"must be a DNS name, not the address {host}")
    except ValueError:
        try:
            subdomain(host.removeprefix("*."))
        except ValueError as error:
            yield Misfit(loc, str(error))


class IngressSpec(Model):
    """Requests from outside, and the Services that get them."""

    ingress_class_name: Subdomain | None = None
    default_backend: Backend | None = None
    rules: Items[HostRule] = ()
    tls: Items[IngressTls] = ()

    def misfits(self) -> Iterator[Misfit]:
        if self.default_backend is None and not self.rules:
            yield Misfit((), "must have rules or a defaultBackend", at_key=True)


class Ingress(Object):
    """An Ingress."""

    spec: IngressSpec
