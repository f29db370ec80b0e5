"""ClusterNetworkPolicies: an administrator's rules for all namespaces, before and after NetworkPolicies."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.alias_generators import to_camel

from testbed.kubernetes.fields import found
from testbed.kubernetes.models.meta import LabelSelector, Object
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.values import Cidr, Items, Port, PortName, either, within, word
from testbed.spec.problems import Loc, Misfit

MAX_RULES = MAX_ITEMS = 25
"""Rules of a direction; peers and protocols of a rule, networks and domain names of a peer."""
MAX_NAME = 100
_DOMAIN = re.compile(r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?")


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"must be a domain name, such as example.com or *.example.com{found(text)}")
    return text


def _rule_name(text: str) -> str:
    if len(text) > MAX_NAME:
        raise ValueError(f"a rule's name can have at most {MAX_NAME} characters, found {len(text)}")
    return text


DomainName = Annotated[str, AfterValidator(_domain)]
RuleName = Annotated[str, AfterValidator(_rule_name)]
Priority = Annotated[int, within(0, 1000)]
Action = Annotated[str, word("Accept", "Deny", "Pass")]


def only_one(part: Model, *names: str) -> Iterator[Misfit]:
    """The misfit of a part that must have exactly one of these fields."""
    fields = type(part).model_fields
    given = [fields[name].alias or name for name in names if getattr(part, name) not in (None, ())]
    keys = [fields[name].alias or name for name in names]
    if not given:
        message = f"must have one of {either(keys)}" if keys[1:] else f"the field '{keys[0]}' is missing"
        yield Misfit((), message, at_key=True)
    elif len(given) > 1:
        yield Misfit((given[1],), f"cannot be used together with `{given[0]}`; remove one", at_key=True)


def too_many(items: tuple[object, ...], key: str, most: int = MAX_ITEMS) -> Iterator[Misfit]:
    """The misfit of a list with too many items."""
    if len(items) > most:
        yield Misfit((key, most), f"{key} can have at most {most} items, found {len(items)}")


def peer_misfits(
    peers: tuple["Subject", ...], key: str, most: int = MAX_ITEMS, has_named_port: bool = False
) -> Iterator[Misfit]:
    """Misfits of a rule's peers, which are in the field `key`."""
    if not peers:
        yield Misfit((key,), "must have at least one peer", at_key=True)
    yield from too_many(peers, key, most)
    for number, peer in enumerate(peers):
        for name in ("nodes", "networks", "domain_names") if has_named_port else ():
            if getattr(peer, name, None) not in (None, ()):
                message = "has no named ports; use a port number, or put this peer into another rule"
                yield Misfit((key, number, to_camel(name)), message, at_key=True)


class NamespacedPod(Model):
    """Pods of some namespaces."""

    namespace_selector: LabelSelector = Field(default_factory=LabelSelector)
    pod_selector: LabelSelector


class Subject(Model):
    """Pods, by their namespaces, or also by their own labels. Pods with hostNetwork are not included."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from only_one(self, *type(self).model_fields)
        for name in ("networks", "domain_names"):
            yield from too_many(getattr(self, name, ()), to_camel(name))


class NetworkPeer(Subject):
    """Also nodes, and address ranges."""

    nodes: LabelSelector | None = None
    networks: Items[Cidr] = ()


class AnyPeer(NetworkPeer):
    """Also hosts by their domain names."""

    domain_names: Items[DomainName] = ()


class PortRange(Model):
    """A range of ports."""

    start: Port
    end: Port

    def misfits(self) -> Iterator[Misfit]:
        if self.start >= self.end:
            yield Misfit(("end",), f"must be more than start {self.start}, not {self.end}")


class DestinationPort(Model):
    """A port, or a range of ports."""

    number: Port | None = None
    range: PortRange | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from only_one(self, "number", "range")


class Transport(Model):
    """Ports of a protocol."""

    destination_port: DestinationPort | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from only_one(self, "destination_port")


class ProtocolMatch(Model):
    """Ports of a protocol, or a container's port by its name."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: PortName | None = None

    def misfits(self) -> Iterator[Misfit]:
        yield from only_one(self, "tcp", "udp", "sctp", "destination_named_port")


class ClusterIngressRule(Model):
    """What to do with some traffic to the policy's pods."""

    name: RuleName = ""
    action: Action
    from_: Items[Subject] = Field(default=(), alias="from")
    protocols: Items[ProtocolMatch] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from peer_misfits(self.from_, "from")
        yield from too_many(self.protocols, "protocols")


class ClusterEgressRule(Model):
    """What to do with some traffic of the policy's pods."""

    name: RuleName = ""
    action: Action
    to: Items[AnyPeer] = ()
    protocols: Items[ProtocolMatch] = ()

    def misfits(self) -> Iterator[Misfit]:
        is_named = any(one.destination_named_port for one in self.protocols)
        yield from peer_misfits(self.to, "to", has_named_port=is_named)
        yield from too_many(self.protocols, "protocols")
        yield from domain_misfits(self.action, "Accept", self.to)


def domain_misfits(action: str, only: str, peers: tuple[AnyPeer, ...]) -> Iterator[Misfit]:
    """Misfits of peers by domain name, which only rules with one action can have."""
    for number, peer in enumerate(peers):
        if peer.domain_names and action != only:
            loc: Loc = ("to", number, "domainNames")
            yield Misfit(loc, f"requires `action: {only}`, not {action}", at_key=True)


class ClusterNetworkPolicySpec(Model):
    """The rules of a tier for some pods, in order of precedence."""

    tier: Annotated[str, word("Admin", "Baseline")]
    priority: Priority
    subject: Subject
    ingress: Items[ClusterIngressRule] = ()
    egress: Items[ClusterEgressRule] = ()

    def misfits(self) -> Iterator[Misfit]:
        yield from too_many(self.ingress, "ingress", MAX_RULES)
        yield from too_many(self.egress, "egress", MAX_RULES)


class ClusterNetworkPolicy(Object):
    """A ClusterNetworkPolicy."""

    spec: ClusterNetworkPolicySpec
