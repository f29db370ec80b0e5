"""What kube-router's chains let through, and the policies that mean the same by the standard.

kube-router differs from the standard, and `as_enforced` says how, in terms of resolved policies:
- It knows only NetworkPolicies.
- A policy of both directions has one chain. So its ingress rules also let the pods that it selects send to one another,
  and its egress rules let them receive from one another.
- A named port of an egress rule without peers is looked up in the policy's own namespace, and then allowed everywhere.
- Egress rules do not combine named ports with address ranges.
- A rule for pods whose named ports no pod has allows all ports.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from testbed.kubernetes.policies import Action, Direction, Policies, Policy, Rule, Tier
from testbed.kubernetes.policies.members import Bits, bits_of
from testbed.kubernetes.policies.rules import Peers, Ports

_ALL = Peers(is_all=True)


class Way(NamedTuple):
    """Traffic that a policy's chain marks: peers, ports and, with a named port, the pods that have it."""

    direction: Direction
    rule: int
    """Its number among the rules of its direction."""
    peers: Peers
    """Either everything, pods, or ranges."""
    ports: Ports | None = None
    """None for all."""
    having: Bits | None = None
    named: int = 0
    """The number of the set `having` in the rule."""


def ways(policies: Policies, policy: Policy, direction: Direction) -> Iterator[Way]:
    """The traffic that a policy's chain marks for one direction, in order."""
    for number, rule in enumerate(policy.rules(direction) or ()):
        numeric = [one for one in rule.ports if not one.name]
        named = list(_named(policies, policy, rule, direction))
        without = Way(direction, number, _ALL)
        if rule.peers.pods:
            way = without._replace(peers=Peers(rule.peers.pods))
            yield from (way._replace(ports=one) for one in numeric)
            yield from (way._replace(ports=one, having=pods, named=at) for at, (one, pods) in enumerate(named))
            if not numeric and not named:
                yield way
        if rule.peers.is_all:
            yield from (without._replace(ports=one) for one in numeric)
            for at, (one, pods) in enumerate(named):
                is_in = direction is Direction.INGRESS
                yield without._replace(ports=one, having=pods if is_in else None, named=at)
            if not rule.ports:
                yield without
        if rule.peers.blocks:
            way = without._replace(peers=Peers(blocks=rule.peers.blocks))
            yield from (way._replace(ports=one) for one in numeric)
            if direction is Direction.INGRESS:
                yield from (way._replace(ports=one, having=pods, named=at) for at, (one, pods) in enumerate(named))
            if not rule.ports:
                yield way


def _named(policies: Policies, policy: Policy, rule: Rule, direction: Direction) -> Iterator[tuple[Ports, Bits]]:
    """The numbers of a rule's named ports, each with the pods that have it."""
    if direction is Direction.INGRESS:
        among = policy.subject
    else:
        among = policies.members.of_namespace(policy.namespace) if rule.peers.is_all else rule.peers.pods
    pods = [pod for pod in policies.members.pods if among >> pod.number & 1]
    for wanted in rule.ports:
        numbers = sorted(
            {
                port.number
                for pod in pods
                for port in pod.ports
                if (port.name, port.protocol) == (wanted.name, wanted.protocol)
            }
        )
        for number in numbers:
            having = bits_of(pod.number for pod in pods if pod.has_port(wanted.name, wanted.protocol, number))
            yield Ports(wanted.protocol, number, number), having


def as_enforced(policies: Policies, family: int) -> Policies:
    """The policies that mean what kube-router enforces."""
    made: list[Policy] = []
    for policy in policies:
        if policy.tier is Tier.NETWORK_POLICY:
            empty = {
                key: None if rules is None else ()
                for key, rules in (("ingress", policy.ingress), ("egress", policy.egress))
            }
            made.append(replace(policy, **empty))  # type: ignore[arg-type]
            for direction in Direction:
                for way in ways(policies, policy, direction):
                    made += _meanings(policies, policy, way, family)
    return Policies(policies.members, tuple(made))


def _meanings(policies: Policies, policy: Policy, way: Way, family: int) -> Iterator[Policy]:
    """What a way allows, as policies with one rule."""
    ports = (way.ports,) if way.ports else ()
    is_in = way.direction is Direction.INGRESS
    others = policies.pods_in(way.peers, family)

    def one(subject: Bits, peers: Peers, is_ingress: bool) -> Policy:
        rules = (Rule(Action.ACCEPT, peers, ports, ("spec", way.direction.value, way.rule)),)
        ingress, egress = (rules, None) if is_ingress else (None, rules)
        return replace(policy, subject=subject, ingress=ingress, egress=egress)

    here = policy.subject if way.having is None or not is_in else way.having
    there = way.peers if way.having is None or is_in else Peers(way.having)
    yield one(here, there, is_in)
    if policy.ingress is not None and policy.egress is not None:
        if is_in:
            yield one(policy.subject & others, Peers(here), False)
        else:
            yield one(policy.subject & (others if way.having is None else way.having), Peers(policy.subject), True)
