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
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.networking import (
    EgressRule,
    IngressRule,
    IPBlock,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
)
from testbed.kubernetes.policies.members import Bits, Members, members_of
from testbed.kubernetes.policies.rules import (
    PROTOCOLS,
    Action,
    Block,
    Peers,
    Policies,
    Policy,
    Ports,
    Rule,
    Selected,
    Tier,
)
from testbed.kubernetes.state import ClusterState, Resource
from testbed.spec.types import Network

KINDS = ("NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
NAME_LABEL = "kubernetes.io/metadata.name"
"""Label of every namespace with its name."""
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
    blocks = tuple(_block(peer.ip_block) for peer in written if peer.ip_block)
    selected = tuple(_peer(peer, namespace, members) for peer in written if not peer.ip_block)
    ports = tuple(_ports(port) for port in rule.ports)
    peers = Peers(_union(selected), selected, blocks, not written)
    return Rule(Action.ACCEPT, peers, ports, ("spec", direction, number))


def _union(selected: Iterable[Selected]) -> Bits:
    found = 0
    for one in selected:
        found |= one.pods
    return found


def _peer(peer: PolicyPeer, namespace: str, members: Members) -> Selected:
    """The pods of a peer: without a selector of namespaces, those of the policy's own."""
    if peer.namespace_selector is None:
        assert peer.pod_selector is not None
        of_own = f"{NAME_LABEL}={namespace}"
        return Selected(of_own, str(peer.pod_selector), members.selected(peer.pod_selector, namespace))
    return _selected(peer.pod_selector, peer.namespace_selector, members)


def _selected(pods: LabelSelector | None, namespaces: LabelSelector, members: Members) -> Selected:
    found = members.selected(pods, namespaces) if pods else members.of_namespaces(namespaces)
    return Selected(str(namespaces), str(pods or ""), found)


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
    if subject.namespaces is not None:
        return members.of_namespaces(subject.namespaces)
    assert subject.pods is not None
    return members.selected(subject.pods.pod_selector, subject.pods.namespace_selector)


def _cluster_rules(
    written: Iterable[ClusterIngressRule | ClusterEgressRule], direction: str, members: Members
) -> Iterator[Rule]:
    for number, rule in enumerate(written):
        peers = rule.from_ if isinstance(rule, ClusterIngressRule) else rule.to
        ports = tuple(_match(one) for one in rule.protocols)
        yield Rule(Action(rule.action), _cluster_peers(peers, members), ports, ("spec", direction, number), rule.name)


def _cluster_peers(written: Iterable[Subject], members: Members) -> Peers:
    selected: list[Selected] = []
    blocks: list[Block] = []
    for peer in written:
        if peer.namespaces is not None:
            selected.append(_selected(None, peer.namespaces, members))
        elif peer.pods is not None:
            selected.append(_selected(peer.pods.pod_selector, peer.pods.namespace_selector, members))
        elif isinstance(peer, NetworkPeer):
            blocks += (Block(_network(text)) for text in peer.networks)
            nodes = members.nodes_of(peer.nodes) if peer.nodes is not None else ()
            blocks += (Block(ipaddress.ip_network(address)) for address in nodes)
    return Peers(_union(selected), tuple(selected), tuple(blocks))


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
