"""From the policies of a cluster state to resolved policies."""

import ipaddress
from collections.abc import Iterable, Iterator

from testbed.kubernetes.models.admin_policies import AdminNetworkPolicy, BaselineAdminNetworkPolicy, as_cluster_policy
from testbed.kubernetes.models.cluster_policies import (
    AnyPeer,
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterNetworkPolicySpec,
    NetworkPeer,
    ProtocolMatch,
    Subject,
)
from testbed.kubernetes.models.networking import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
)
from testbed.kubernetes.policies.members import Bits, Members, members_of
from testbed.kubernetes.policies.rules import PROTOCOLS, Action, Block, Peers, Policies, Policy, Ports, Rule, Tier
from testbed.kubernetes.state import ClusterState, Resource
from testbed.spec.types import Network

KINDS = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
_TIERS = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}


def resolve(state: ClusterState) -> Policies:
    """The policies of a cluster, with the pods that they select now."""
    members = members_of(state)
    policies = [_resolved(one, members) for kind in KINDS for one in state.of(kind).values()]
    policies.sort(key=lambda one: one.order)
    remarks = [f"{one} selects no pod" for one in policies if not one.subject]
    remarks += (line for kind in KINDS[1:] for one in state.of(kind).values() for line in _left_out(one))
    return Policies(members, tuple(policies), tuple(remarks))


def _resolved(one: Resource, members: Members) -> Policy:
    if isinstance(one.typed, NetworkPolicy):
        return _network_policy(one, one.typed, members)
    spec = _cluster_spec(one)
    return Policy(
        one.kind.name,
        "",
        one.name,
        _TIERS[spec.tier],
        spec.priority,
        _subject(spec.subject, members),
        tuple(_cluster_rules(spec.ingress, "ingress", members)) or None,
        tuple(_cluster_rules(spec.egress, "egress", members)) or None,
    )


def _cluster_spec(one: Resource) -> ClusterNetworkPolicySpec:
    match one.typed:
        case ClusterNetworkPolicy():
            return one.typed.spec
        case AdminNetworkPolicy() | BaselineAdminNetworkPolicy():
            return as_cluster_policy(one.typed)
    raise TypeError(one.kind.name)


def _network_policy(one: Resource, typed: NetworkPolicy, members: Members) -> Policy:
    spec = typed.spec

    def rules(direction: str, written: Iterable[IngressRule | EgressRule]) -> tuple[Rule, ...] | None:
        if direction.capitalize() not in spec.types:
            return None
        return tuple(_rule(rule, direction, number, one.namespace, members) for number, rule in enumerate(written))

    return Policy(
        one.kind.name,
        one.namespace,
        one.name,
        Tier.NETWORK_POLICY,
        0,
        members.selected(spec.pod_selector, one.namespace),
        rules("ingress", spec.ingress),
        rules("egress", spec.egress),
    )


def _rule(rule: IngressRule | EgressRule, direction: str, number: int, namespace: str, members: Members) -> Rule:
    written = rule.from_ if isinstance(rule, IngressRule) else rule.to
    pods, blocks = 0, []
    for peer in written:
        if peer.ip_block:
            blocks.append(_block(peer.ip_block))
        else:
            pods |= _selected(peer, namespace, members)
    ports = tuple(_ports(port) for port in rule.ports)
    return Rule(Action.ACCEPT, Peers(pods, tuple(blocks), not written), ports, ("spec", direction, number))


def _selected(peer: PolicyPeer, namespace: str, members: Members) -> Bits:
    """The pods of a peer: without a selector of namespaces, those of the policy's own."""
    if peer.pod_selector is None:
        assert peer.namespace_selector is not None
        return members.of_namespaces(peer.namespace_selector)
    return members.selected(peer.pod_selector, peer.namespace_selector or namespace)


def _block(written: IPBlock) -> Block:
    return Block(_network(written.cidr), tuple(map(_network, written.except_)))


def _network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def _ports(port: PolicyPort) -> Ports:
    match port.port:
        case None:
            return Ports(port.protocol)
        case str():
            return Ports(port.protocol, name=port.port)
    return Ports(port.protocol, port.port, port.end_port or port.port)


def _subject(subject: Subject, members: Members) -> Bits:
    """The pods of a subject, or of a peer that is chosen by labels."""
    if subject.namespaces is not None:
        return members.of_namespaces(subject.namespaces)
    if subject.pods is None:
        return 0
    return members.selected(subject.pods.pod_selector, subject.pods.namespace_selector)


def _cluster_rules(
    written: Iterable[ClusterIngressRule | ClusterEgressRule], direction: str, members: Members
) -> Iterator[Rule]:
    for number, rule in enumerate(written):
        peers = rule.from_ if isinstance(rule, ClusterIngressRule) else rule.to
        ports = tuple(_match(one) for one in rule.protocols)
        yield Rule(Action(rule.action), _cluster_peers(peers, members), ports, ("spec", direction, number), rule.name)


def _cluster_peers(written: Iterable[Subject], members: Members) -> Peers:
    pods = 0
    blocks: list[Block] = []
    for peer in written:
        pods |= _subject(peer, members)
        if isinstance(peer, NetworkPeer):
            blocks += (Block(_network(text)) for text in peer.networks)
            nodes = members.nodes_of(peer.nodes) if peer.nodes is not None else ()
            blocks += (Block(ipaddress.ip_network(address)) for address in nodes)
    return Peers(pods, tuple(blocks))


def _match(written: ProtocolMatch) -> Ports:
    if written.destination_named_port:
        return Ports("", name=written.destination_named_port)
    protocol = next(name for name in PROTOCOLS if getattr(written, name.lower()))
    port = getattr(written, protocol.lower()).destination_port
    return (
        Ports(protocol, port.range.start, port.range.end) if port.range else Ports(protocol, port.number, port.number)
    )


def _left_out(one: Resource) -> Iterator[str]:
    """Parts of a policy that nothing here can decide about."""
    for number, rule in enumerate(_cluster_spec(one).egress):
        for place, peer in enumerate(rule.to):
            if isinstance(peer, AnyPeer) and peer.domain_names:
                where = f"{one.kind.name} {one.name}: spec.egress[{number}].to[{place}].domainNames"
                yield f"{where}: domain names are left out; they match no traffic"
