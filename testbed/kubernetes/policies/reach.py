"""Which pods reach which others, for all pairs at once: the same rules as the oracle's, on sets of pods."""

from collections.abc import Iterator

from testbed.kubernetes.policies.members import Bits, Member, NamedPort, numbers_in
from testbed.kubernetes.policies.rules import Action, Direction, Policies, Policy, Rule, Tier


def reach(policies: Policies, port: int, protocol: str = "TCP", family: int = 4) -> tuple[Bits, ...]:
    """For each pod, by its number: the pods that it can reach at a port."""
    table = _Table(policies, port, protocol, family)
    pods = policies.members.pods
    targets: dict[Bits, Bits] = {}
    """By set of sources: the targets that receive from exactly these."""
    for pod in pods:
        sources = table.peers(pod, Direction.INGRESS)
        targets[sources] = targets.get(sources, 0) | 1 << pod.number
    receiving = [0] * len(pods)
    for sources, those in targets.items():
        for number in numbers_in(sources):
            receiving[number] |= those
    return tuple(table.peers(pod, Direction.EGRESS) & receiving[pod.number] | 1 << pod.number for pod in pods)


class _Table:
    """The peers of pods at one port."""

    def __init__(self, policies: Policies, port: int, protocol: str, family: int) -> None:
        self.policies, self.port, self.protocol, self.family = policies, port, protocol, family
        self._known: dict[tuple[Direction, tuple[Policy, ...], frozenset[NamedPort]], Bits] = {}
        self._having: dict[tuple[str, str], Bits] = {}
        """By name and protocol (or none): the pods whose port of this name has the number."""
        for pod in policies.members.pods:
            for one in self._here(pod):
                for key in ((one.name, one.protocol), (one.name, "")):
                    self._having[key] = self._having.get(key, 0) | 1 << pod.number

    def _here(self, pod: Member) -> frozenset[NamedPort]:
        """The named ports of a pod that have the number."""
        return frozenset(one for one in pod.ports if (one.number, one.protocol) == (self.port, self.protocol))

    def peers(self, pod: Member, direction: Direction) -> Bits:
        """The pods with which a pod's policies allow traffic."""
        selecting = self.policies.selecting(pod, direction)
        if not selecting:
            return self.policies.members.all
        key = direction, selecting, self._here(pod) if direction is Direction.INGRESS else frozenset()
        if key not in self._known:
            self._known[key] = self._decided(selecting, direction, pod)
        return self._known[key]

    def _decided(self, selecting: tuple[Policy, ...], direction: Direction, pod: Member) -> Bits:
        accepted, open_ = 0, self.policies.members.all
        for tier in Tier:
            own = [policy for policy in selecting if policy.tier is tier]
            passed = 0
            for action, matched in self._matched(own, direction, pod):
                new = matched & open_
                accepted |= new if action is Action.ACCEPT else 0
                passed |= new if action is Action.PASS else 0
                open_ &= ~matched
            if own and tier is Tier.NETWORK_POLICY:
                return accepted
            open_ |= passed
        return accepted | open_

    def _matched(self, own: list[Policy], direction: Direction, pod: Member) -> Iterator[tuple[Action, Bits]]:
        for policy in own:
            for rule in policy.rules(direction) or ():
                yield rule.action, self.policies.pods_in(rule.peers, self.family) & self._at_port(rule, direction, pod)

    def _at_port(self, rule: Rule, direction: Direction, pod: Member) -> Bits:
        """The peers for which a rule is about the port: a named port is one of the target."""
        if direction is Direction.INGRESS or rule.covers(None, self.port, self.protocol):
            return self.policies.members.all if rule.covers(pod, self.port, self.protocol) else 0
        found = 0
        for ports in rule.ports:
            if ports.name and ports.protocol in ("", self.protocol):
                found |= self._having.get((ports.name, ports.protocol), 0)
        return found
