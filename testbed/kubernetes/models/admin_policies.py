"""AdminNetworkPolicies and the BaselineAdminNetworkPolicy, which became ClusterNetworkPolicies.

`as_cluster_policy` reads them as the ClusterNetworkPolicies of the tiers Admin and Baseline that mean the same.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from testbed.kubernetes.models.cluster_policies import (
    AnyPeer,
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicySpec,
    DestinationPort,
    NetworkPeer,
    PortRange,
    Priority,
    ProtocolMatch,
    RuleName,
    Subject,
    Transport,
    domain_misfits,
    only_one,
    peer_misfits,
    too_many,
)
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.values import Items, Port, PortName, Protocol, word
from testbed.spec.problems import Misfit

MAX_RULES = MAX_ITEMS = 100
"""Rules of a direction; peers and ports of a rule."""
BASELINE_NAME = "default"
_ACCEPT = {"Allow": "Accept"}
"""Actions with another name in ClusterNetworkPolicies."""


class PortNumber(Model):
    """A port of a protocol."""

    protocol: Protocol = "TCP"
    port: Port


class ProtocolRange(Model):
    """A range of ports of a protocol."""

    protocol: Protocol = "TCP"
    start: Port
    end: Port

    def misfits(self) -> Iterator[Misfit]:
        if self.start >= self.end:
            yield Misfit(("end",), f"must be more than start {self.start}, not {self.end}")


class AdminPort(Model):
    """A port, by number, name or range."""

    port_number: PortNumber | None = None
    named_port: PortName | None = None
    port_range: ProtocolRange | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from only_one(self, "port_number", "named_port", "port_range")

    @property
    def match(self) -> ProtocolMatch:
        """The same in a ClusterNetworkPolicy."""
        if self.named_port:
            return ProtocolMatch(destination_named_port=self.named_port)
        if self.port_range:
            protocol = self.port_range.protocol
            port = DestinationPort(range=PortRange(start=self.port_range.start, end=self.port_range.end))
        else:
            assert self.port_number
            protocol, port = self.port_number.protocol, DestinationPort(number=self.port_number.port)
        return ProtocolMatch.model_validate({protocol.lower(): Transport(destination_port=port)}, by_name=True)


class AdminIngressRule(Model):
    """What to do with some traffic to the policy's pods."""

    name: RuleName = ""
    action: Annotated[str, word("Allow", "Deny", "Pass")]
    from_: Items[Subject] = Field(default=(), alias="from")
    ports: Items[AdminPort] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from peer_misfits(self.from_, "from", MAX_ITEMS)
        yield from too_many(self.ports, "ports", MAX_ITEMS)


class AdminEgressRule(Model):
    """What to do with some traffic of the policy's pods."""

    name: RuleName = ""
    action: Annotated[str, word("Allow", "Deny", "Pass")]
    to: Items[AnyPeer] = ()
    ports: Items[AdminPort] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from peer_misfits(self.to, "to", MAX_ITEMS, any(port.named_port for port in self.ports))
        yield from too_many(self.ports, "ports", MAX_ITEMS)
        yield from domain_misfits(self.action, "Allow", self.to)


class BaselineIngressRule(AdminIngressRule):
    """A rule of the baseline, which is the last tier."""

    action: Annotated[str, word("Allow", "Deny")]


class BaselineEgressRule(Model):
    """A rule of the baseline, which is the last tier."""

    name: RuleName = ""
    action: Annotated[str, word("Allow", "Deny")]
    to: Items[NetworkPeer] = ()
    ports: Items[AdminPort] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from peer_misfits(self.to, "to", MAX_ITEMS, any(port.named_port for port in self.ports))
        yield from too_many(self.ports, "ports", MAX_ITEMS)


class AdminNetworkPolicySpec(Model):
    """Rules that come before NetworkPolicies, in order of precedence."""

    priority: Priority
    subject: Subject
    ingress: Items[AdminIngressRule] = ()
    egress: Items[AdminEgressRule] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from too_many(self.ingress, "ingress", MAX_RULES)
        yield from too_many(self.egress, "egress", MAX_RULES)


class AdminNetworkPolicy(Object):
    """An AdminNetworkPolicy."""

    spec: AdminNetworkPolicySpec


class BaselineAdminNetworkPolicySpec(Model):
    """Rules for pods without NetworkPolicy, in order of precedence."""

    subject: Subject
    ingress: Items[BaselineIngressRule] = ()
    egress: Items[BaselineEgressRule] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from too_many(self.ingress, "ingress", MAX_RULES)
        yield from too_many(self.egress, "egress", MAX_RULES)


class BaselineAdminNetworkPolicy(Object):
    """The BaselineAdminNetworkPolicy."""

    spec: BaselineAdminNetworkPolicySpec


def baseline_name(text: str) -> str:
    """The name of the only BaselineAdminNetworkPolicy. Raises ValueError for others."""
    if text != BASELINE_NAME:
        raise ValueError(f"a BaselineAdminNetworkPolicy must have the name '{BASELINE_NAME}', not '{text}'")
    return text


def as_cluster_policy(one: AdminNetworkPolicy | BaselineAdminNetworkPolicy) -> ClusterNetworkPolicySpec:
    """The spec of the ClusterNetworkPolicy that means the same."""
    return ClusterNetworkPolicySpec.model_construct(
        tier="Admin" if isinstance(one, AdminNetworkPolicy) else "Baseline",
        priority=one.spec.priority if isinstance(one, AdminNetworkPolicy) else 0,
        subject=one.spec.subject,
        # The lists may be longer than those of a ClusterNetworkPolicy.
        ingress=tuple(ClusterIngressRule.model_construct(from_=rule.from_, **_rest(rule)) for rule in one.spec.ingress),
        egress=tuple(ClusterEgressRule.model_construct(to=rule.to, **_rest(rule)) for rule in one.spec.egress),
    )


def _rest(rule: AdminIngressRule | AdminEgressRule | BaselineEgressRule) -> dict[str, Any]:
    """The fields of a rule except its peers."""
    ports = tuple(port.match for port in rule.ports)
    return {"name": rule.name, "action": _ACCEPT.get(rule.action, rule.action), "protocols": ports}
