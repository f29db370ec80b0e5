"""Calico's engine: Felix' chains, sets, tiers and profiles, in iptables and ipset.

The design already has the chains of all pods, with the profiles of their namespaces. A pod with policies gets, before
its profiles, for each tier in which policies select it:

    cali-tw-cali1234...  (to the pod: ingress)          cali-fw-cali1234...  (from the pod: egress)
      RELATED,ESTABLISHED accept; INVALID drop; clear the bits accept and pass
      start of tier default: clear pass
      unless pass is set: jump cali-pi-...               a policy's ingress rules (cali-po-...: egress)
      return if accept is set
      ... the tier's other policies, in order
      end of tier default: drop unless pass is set       only in the tier `default`
      profiles ...

A policy's rule sets the bit accept, pass or drop and returns, or drops. Each peer and each protocol of a Kubernetes
rule is a rule of its own. Pods chosen by labels are members of a set `cali40s:...` that is named after the selector,
container ports with a name of a set `cali40n:...`. What does not fit into one rule of iptables is tried in blocks, with
two more bits of the mark.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from testbed.kubernetes.policies import Action, Direction, Policy, Rule, Tier, ToOwnNode
from testbed.kubernetes.policies.rules import LAST_PORT, PROTOCOLS, Selected
from testbed.plan.objects import Space
from testbed.plan.rulesets import Chain, Ruleset, Set, iptables
from testbed.policies import sets
from testbed.policies.enforcing import with_rulesets
from testbed.policies.engine import Engine, Node
from testbed.spec.types import Network

OWNER = "felix"
ACCEPT, PASS, DROP, SCRATCH = 0x10000, 0x20000, 0x40000, 0x80000
SCRATCHES = 0x180000
"""Bits of a packet's mark. `SCRATCH`: all blocks of the rule match so far."""
BITS = {Action.ACCEPT: ACCEPT, Action.PASS: PASS, Action.DENY: DROP}
TIERS = {Tier.ADMIN: "kube-admin", Tier.NETWORK_POLICY: "default", Tier.BASELINE: "kube-baseline"}
SHORT_KINDS = {
    "NetworkPolicy": "knp",
    "ClusterNetworkPolicy": "kcnp",
    "AdminNetworkPolicy": "kanp",
    "BaselineAdminNetworkPolicy": "kbanp",
}
CHAIN_LENGTH, SET_LENGTH, MULTIPORT_SLOTS = 28, 31, 15
_PREFIXES = {Direction.INGRESS: ("cali-tw-", "cali-pi-"), Direction.EGRESS: ("cali-fw-", "cali-po-")}
"""Of chains of pods, and of policies."""
_PROFILE = "-j cali-pr"


def enforce(space: Space, node: Node) -> Space:
    """A node's space with tiers in the chains of its pods, and the policies' chains and sets."""
    backends = {iptables.tool(family): _Tables(node, family) for family in node.families}
    parts = {part.backend: part for part in space.of(Ruleset) if part.owner == OWNER}
    made: list[Ruleset] = []
    known: list[Set] = []
    for backend, tables in backends.items():
        part = parts[backend]
        chains = tuple(tables.with_tiers(part.chains))
        made.append(replace(part, chains=(*chains, *tables.policies.values())))
        known += tables.sets.values()
    if known:
        made.append(replace(parts["ipset"], sets=(*parts["ipset"].sets, *known)))
    return with_rulesets(space, made)


@dataclass
class _Tables:
    """The chains of one family, as they are made."""

    node: Node
    family: int
    policies: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)

    def with_tiers(self, chains: Iterable[Chain]) -> Iterator[Chain]:
        """The chains, with the tiers of pods in those of pods."""
        tiers = {
            f"{_PREFIXES[direction][0]}{pod.device}": list(self._tiers(self.node.selecting(pod, direction), direction))
            for pod in self.node.pods
            for direction in Direction
        }
        for chain in chains:
            rules = tiers.get(chain.name, []) if chain.table == "filter" else []
            at = next((number for number, rule in enumerate(chain.rules) if rule.startswith(_PROFILE)), 0)
            yield replace(chain, rules=(*chain.rules[:at], *rules, *chain.rules[at:])) if rules else chain

    def _tiers(self, selecting: tuple[Policy, ...], direction: Direction) -> Iterator[str]:
        for tier in Tier:
            own = [policy for policy in selecting if policy.tier is tier]
            if not own:
                continue
            yield f"{_comment(f'Start of tier {TIERS[tier]}')} -j MARK --set-xmark 0x0/{PASS:#x}"
            for policy in own:
                yield f"-m mark --mark 0x0/{PASS:#x} -j {self._chain(policy, direction)}"
                yield f"{_comment('Return if policy accepted')} {_has(ACCEPT)} -j RETURN"
            if tier is Tier.NETWORK_POLICY:
                end = _comment(f"End of tier {TIERS[tier]}. Drop if no policies passed packet")
                yield f"{end} -m mark --mark 0x0/{PASS:#x} -j DROP"

    def _chain(self, policy: Policy, direction: Direction) -> str:
        """The name of a policy's chain, which is added."""
        who = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
        name = _named(_PREFIXES[direction][1], f"{SHORT_KINDS[policy.kind]}/{who}", CHAIN_LENGTH)
        if name not in self.policies:
            rules = [line for rule in policy.rules(direction) or () for line in self._rules(rule, direction)]
            while rules and rules[-1].endswith("-j RETURN"):
                rules.pop()
            first = _commented(rules[0] if rules else "", f"{policy.kind} {who} {direction.value}")
            self.policies[name] = Chain("filter", name, (first, *rules[1:]))
        return name

    def _rules(self, rule: Rule, direction: Direction) -> Iterator[str]:
        """The rules of iptables for a rule: one for each protocol and each peer, with its blocks."""
        for protocol in _protocols(rule):
            for peer in self._peers(rule, direction):
                yield from self._rule(rule, protocol, peer)

    def _rule(self, rule: Rule, protocol: str, peer: "_Peer") -> Iterator[str]:
        blocks: list[str] = []
        ports = self._ports(rule, protocol) if protocol else []
        if len(ports) > 1:
            by = f"-j MARK --set-xmark {SCRATCH:#x}/{SCRATCH:#x}"
            blocks += (f"-j MARK --set-xmark 0x0/{SCRATCHES:#x}", *(f"{of} {by}" for of in map(" ".join, ports)))
        if peer.without:
            blocks += () if blocks else (f"-j MARK --set-xmark {SCRATCH:#x}/{SCRATCHES:#x}",)
            blocks += (f"{peer.side} {part} -j MARK --set-xmark 0x0/{SCRATCH:#x}" for part in peer.without)
        of, port = ports[0] if len(ports) == 1 else (f"-p {protocol}" if protocol else "", "")
        match = (peer.network, of, peer.match, port, _has(SCRATCH) if blocks else "")
        bit, verdict = BITS[rule.action], "DROP" if rule.action is Action.DENY else "RETURN"
        yield from blocks
        yield " ".join(filter(None, (*match, f"-j MARK --set-xmark {bit:#x}/{bit:#x}")))
        yield f"{_has(bit)} -j {verdict}"

    def _peers(self, rule: Rule, direction: Direction) -> Iterator["_Peer"]:
        side, word = ("-s", "src") if direction is Direction.INGRESS else ("-d", "dst")
        if rule.peers.is_all:
            yield _Peer(side)
        for selected in rule.peers.selected:
            yield _Peer(side, match=f"-m set --match-set {self._selected(selected)} {word}")
        for block in rule.peers.blocks:
            if block.network.version == self.family:
                network = f"{side} {block.network}" if block.network.prefixlen else ""
                yield _Peer(side, network, without=block.without)

    def _ports(self, rule: Rule, protocol: str) -> list[tuple[str, str]]:
        """Matches of a rule's ports, at most 15 numbers each: the protocol, and the rest."""
        of, ranges = f"-p {protocol}", sets.port_ranges(rule, protocol.upper())
        if ranges == ((1, LAST_PORT),):
            return [(of, "")]
        found = [(of, f"-m multiport --dports {ports}") for ports in _splits(ranges)]
        names = {one.name for one in rule.ports if one.name and one.protocol in ("", protocol.upper())}
        found += ((of, f"-m set --match-set {self._port_set(name, protocol)} dst,dst") for name in sorted(names))
        return found

    def _selected(self, selected: Selected) -> str:
        """The name of a selector's set, which is added."""
        addresses = self.node.policies.members.addresses(selected.pods, self.family)
        return self._set("s", f"namespaces({selected.namespaces}) pods({selected.labels})", "hash:net", addresses)

    def _port_set(self, name: str, protocol: str) -> str:
        """The name of the set of all container ports with this name, which is added."""
        found = tuple(
            f"{address},{protocol}:{number}"
            for pod in self.node.policies.members.pods
            if (address := pod.address(self.family))
            for number in sorted(
                {port.number for port in pod.ports if (port.name, port.protocol.lower()) == (name, protocol)}
            )
        )
        return self._set("n", f"all(),{protocol},{name}", "hash:ip,port", found)

    def _set(self, kind: str, what: str, type: str, members: tuple[str, ...]) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha224(what.encode()).digest()).decode()
        name = f"cali{self.family}0{kind}:{digest}"[:SET_LENGTH]
        family = "inet" if self.family == 4 else "inet6"
        self.sets.setdefault(name, Set(name, f"{type} family {family} hashsize 1024 maxelem 1048576", members))
        return name


@dataclass(frozen=True)
class _Peer:
    """Matches of a peer."""

    side: str
    network: str = ""
    match: str = ""
    without: tuple[Network, ...] = ()


def _protocols(rule: Rule) -> tuple[str, ...]:
    """The protocols of a rule in lower case, sorted; an empty one if it is about all."""
    if not rule.ports:
        return ("",)
    named = {protocol for one in rule.ports for protocol in ([one.protocol] if one.protocol else PROTOCOLS)}
    return tuple(sorted(protocol.lower() for protocol in named))


def _splits(ranges: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Port numbers as groups for multiport, in which a range counts twice."""
    group: list[str] = []
    slots = 0
    for first, last in ranges:
        wanted = 1 if first == last else 2
        if slots + wanted > MULTIPORT_SLOTS:
            yield ",".join(group)
            group, slots = [], 0
        group.append(str(first) if first == last else f"{first}:{last}")
        slots += wanted
    if group:
        yield ",".join(group)


def _commented(rule: str, comment: str) -> str:
    """A rule with a comment, where iptables-save writes it: after addresses and protocol."""
    words = rule.split(" ") if rule else []
    at = 0
    while at < len(words) and words[at] in ("-s", "-d", "-p"):
        at += 2
    return " ".join((*words[:at], _comment(comment), *words[at:]))


def _has(bit: int) -> str:
    return f"-m mark --mark {bit:#x}/{bit:#x}"


def _comment(comment: str) -> str:
    return f'-m comment --comment "{comment}"'


def _named(prefix: str, name: str, longest: int) -> str:
    """A name, hashed if it is too long."""
    if len(prefix + name) <= longest:
        return prefix + name
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{prefix}_{digest}"[:longest]


ENGINE = Engine(
    "calico",
    enforce,
    "Felix' chains, sets and tiers, in iptables and ipset",
    owner=OWNER,
    to_own_node=ToOwnNode.ALL,
    needs=("ipset",),
    programs=("iptables", "ip6tables", "ipset"),
    unlike="""
Unlike Felix, which gives several policies with one selector a chain of their own, each pod's chain names all policies.
Unlike Felix' own, names of sets are hashes of Kubernetes' selectors, which Calico first writes in its own syntax.
Unlike the standard, policies also decide about a pod's traffic to its own node, as with Calico.
""",
)
