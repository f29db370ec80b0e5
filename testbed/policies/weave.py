"""Weave Net's engine, weave-npc: a set for each selector, rules that accept.

The design already has the chains, and for each namespace the sets of pods that may receive and send because no policy
selects them. With policies:

    weave-... (ingress-default-allow:x)   loses the pods that a policy selects for ingress; likewise for egress
    WEAVE-NPC-INGRESS                     -p tcp -m set SOURCES src -m set TARGETS dst --dport 80 -j ACCEPT
    WEAVE-NPC-EGRESS-CUSTOM               the same with a jump to WEAVE-NPC-EGRESS-ACCEPT, which marks, and RETURN

weave-npc knows only NetworkPolicies. It takes the name of a port for one of /etc/services, which iptables refuses, so
that such a port has no effect; and it does not know `endPort`. `as_enforced` says so in terms of resolved policies.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from testbed.kubernetes.policies import Direction, Policies, Policy, Rule, Tier, ToOwnNode
from testbed.kubernetes.policies.members import Bits, numbers_in
from testbed.kubernetes.policies.rules import LAST_PORT, Block, Ports, Selected
from testbed.plan.objects import Space
from testbed.plan.rulesets import Ruleset, Set
from testbed.policies.enforcing import with_rulesets
from testbed.policies.engine import Engine, Node

OWNER = "weave-npc"
_SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789(){}[]+=_$%^!*|/?.;:@#~"
_KIND = "family inet hashsize 1024 maxelem 65536 comment"
_CHAINS = {Direction.INGRESS: "WEAVE-NPC-INGRESS", Direction.EGRESS: "WEAVE-NPC-EGRESS-CUSTOM"}
_TARGETS = {Direction.INGRESS: ("ACCEPT",), Direction.EGRESS: ("WEAVE-NPC-EGRESS-ACCEPT", "RETURN")}
_NAME_LABEL = "kubernetes.io/metadata.name="
LONGEST_COMMENT = 255


def enforce(space: Space, node: Node) -> Space:
    """A node's space with the rules of all NetworkPolicies, and their sets."""
    made = _everywhere(node.policies)
    if not made.taken:
        return space
    parts = {part.backend: part for part in space.of(Ruleset) if part.owner == OWNER}
    chains = tuple(
        replace(chain, rules=(*chain.rules, *made.rules.get(chain.name, ()))) if chain.table == "filter" else chain
        for chain in parts["iptables"].chains
    )
    free = tuple(_without(one, made.taken) for one in parts["ipset"].sets)
    known = {one.name for one in free}
    fresh = tuple(one for name, one in made.sets.items() if name not in known)
    return with_rulesets(
        space, [replace(parts["iptables"], chains=chains), replace(parts["ipset"], sets=(*free, *fresh))]
    )


@lru_cache(maxsize=1)
def _everywhere(policies: Policies) -> "_Made":
    """The rules and sets of all NetworkPolicies. They are the same on all nodes, so that they are made once."""
    made = _Made(policies)
    for policy in policies:
        if policy.tier is Tier.NETWORK_POLICY:
            made.add(policy)
    return made


def _without(one: Set, taken: dict[str, set[str]]) -> Set:
    """A set without the pods that policies select."""
    gone = taken.get(one.name)
    return replace(one, members=tuple(line for line in one.members if line.split()[0] not in gone)) if gone else one


@dataclass
class _Made:
    """The rules and sets of policies, as they are made."""

    policies: Policies
    rules: dict[str, dict[str, None]] = field(default_factory=dict)
    """By chain: its rules in order, each once."""
    sets: dict[str, Set] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)
    """By name of a set of pods without policy: the addresses that it loses."""

    def add(self, policy: Policy) -> None:
        for direction in Direction:
            rules = policy.rules(direction)
            if rules is None:
                continue
            free = _set_name(f"{direction.value}-default-allow:{policy.namespace}")
            self.taken.setdefault(free, set()).update(self.policies.members.addresses(policy.subject, 4))
            lines = self.rules.setdefault(_CHAINS[direction], {})
            for rule in rules:
                lines.update(dict.fromkeys(self._lines(policy, rule, direction)))

    def _lines(self, policy: Policy, rule: Rule, direction: Direction) -> Iterator[str]:
        subject = Selected(f"{_NAME_LABEL}{policy.namespace}", f"{policy.namespace} {policy.name}", policy.subject)
        is_in = direction is Direction.INGRESS
        target = self._selected(subject, "dst" if is_in else "src")
        for address, match, who in self._peers(rule, is_in):
            first, second = (match, target) if is_in else (target, match)
            names = (who, f"policy {policy.namespace}/{policy.name}")
            comment = " -> ".join(names if is_in else reversed(names))
            for of, port in _ports(rule):
                matches = (address, of, first, second, port, _comment(f"{comment} ({direction.value})"))
                yield from (f"{' '.join(filter(None, matches))} -j {to}" for to in _TARGETS[direction])

    def _peers(self, rule: Rule, is_in: bool) -> Iterator[tuple[str, str, str]]:
        """Addresses, matches and names of peers."""
        side, word = ("-s", "src") if is_in else ("-d", "dst")
        if rule.peers.is_all:
            yield "", "", "anywhere"
        for one in rule.peers.selected:
            namespace = one.namespaces.removeprefix(_NAME_LABEL)
            yield "", self._selected(one, word), f"pods: namespaces: {namespace}, selector: {one.labels}"
        for block in rule.peers.blocks:
            if block.network.version == 4:
                address = f"{side} {block.network}" if block.network.prefixlen else ""
                yield address, self._except(block, word), f"cidr: {block.network}"

    def _selected(self, one: Selected, word: str) -> str:
        return f"-m set --match-set {self._pods(f'{one.namespaces}:{one.labels}', one.pods)} {word}"

    def _pods(self, meaning: str, pods: Bits) -> str:
        members = [self.policies.members.pods[number] for number in numbers_in(pods)]
        lines = (
            f'{address} comment "namespace: {pod.key[0]}, pod: {pod.key[1]}"'
            for pod in members
            if (address := pod.address(4))
        )
        return self._set(meaning, "hash:ip", lines)

    def _except(self, block: Block, word: str) -> str:
        if not block.without:
            return ""
        parts = sorted(map(str, block.without))
        lines = (f'{part.removesuffix("/32")} comment "excepted from {block.network}"' for part in parts)
        return f"-m set ! --match-set {self._set('ipblock-except:' + ' '.join(parts), 'hash:net', lines)} {word}"

    def _set(self, meaning: str, type: str, members: Iterable[str]) -> str:
        name = _set_name(meaning)
        self.sets.setdefault(name, Set(name, f"{type} {_KIND}", tuple(members)))
        return name


def _ports(rule: Rule) -> Iterator[tuple[str, str]]:
    """Matches of ports: the protocol, and the rest."""
    if not rule.ports:
        yield "", ""
    for one in rule.ports:
        if not one.name:
            protocol = one.protocol.lower()
            yield f"-p {protocol}", f"-m {protocol}" + ("" if one.has_all else f" --dport {one.first}")


def as_enforced(policies: Policies, family: int) -> Policies:
    """The policies that mean what weave-npc enforces."""
    own = (policy for policy in policies if policy.tier is Tier.NETWORK_POLICY)
    made = tuple(replace(one, ingress=_known(one.ingress), egress=_known(one.egress)) for one in own)
    return Policies(policies.members, made)


def _known(rules: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
    """The rules with ports as weave-npc reads them."""
    if rules is None:
        return None
    read = [(rule, tuple(_first(one) for one in rule.ports if not one.name)) for rule in rules]
    return tuple(replace(rule, ports=ports) for rule, ports in read if ports or not rule.ports)


def _first(ports: Ports) -> Ports:
    return ports if (ports.first, ports.last) == (1, LAST_PORT) else replace(ports, last=ports.first)


def _comment(comment: str) -> str:
    return f'-m comment --comment "{comment[:LONGEST_COMMENT]}"'


def _set_name(meaning: str) -> str:
    """The name that weave-npc gives a set: a SHA-1 in the base of `_SYMBOLS`, lowest digit first."""
    number, digits = int.from_bytes(hashlib.sha1(meaning.encode(), usedforsecurity=False).digest(), "big"), ""
    while number:
        number, digit = divmod(number, len(_SYMBOLS))
        digits += _SYMBOLS[digit]
    return f"weave-{digits}"


ENGINE = Engine(
    "weave",
    enforce,
    "weave-npc's rules, and a set for each selector",
    owner=OWNER,
    as_enforced=as_enforced,
    to_own_node=ToOwnNode.NONE,
    needs=("ipset", "bridge-nf"),
    programs=("iptables", "ipset"),
    unlike="""
Unlike weave-npc, sets of namespaces hold pods instead of other sets, and the set of a policy's pods is named after the
policy.
Unlike the standard, weave-npc ignores ClusterNetworkPolicies, `endPort` and named ports, and decides about IPv4 only.
""",
)
