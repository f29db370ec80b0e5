"""kube-router's engine: a chain for each NetworkPolicy, and sets of the pods that it selects.

The design already has a chain for each pod of the node. With policies, a pod's chain runs through theirs instead of
through KUBE-NWPLCY-DEFAULT, in the directions that they decide about:

    KUBE-POD-FW-...     common chain; from the own node: accept; policies; unmarked: log, REJECT; mark 0x20000
    KUBE-NWPLCY-...     -m set KUBE-SRC-... src -m set KUBE-DST-... dst -p tcp --dport 80   mark 0x10000, return

Each node has the chains and sets of all policies, whether it has pods of theirs or not.
"""

import hashlib
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from testbed.kubernetes.policies import Direction, Policies, Policy, Tier
from testbed.kubernetes.policies.members import Bits
from testbed.kubernetes.policies.rules import Block, Ports
from testbed.plan.objects import Space
from testbed.plan.rulesets import Chain, Ruleset, Set, iptables
from testbed.policies.enforcing import with_rulesets
from testbed.policies.engine import Local, Node
from testbed.policies.kube_router.ways import Way, ways

OWNER = "kube-router"
MARKED = "0x10000/0x10000"
LONGEST_COMMENT = 255
_FAMILIES = {4: "IPv4", 6: "IPv6"}
_DEFAULT = "run through default {} network policy chain"
_UNMARKED = "rule to log dropped traffic"


def enforce(space: Space, node: Node) -> Space:
    """A node's space with the policies' chains and sets, and pods' chains that run through them."""
    if not any(policy.tier is Tier.NETWORK_POLICY for policy in node.policies):
        return space
    parts = {part.backend: part for part in space.of(Ruleset) if part.owner == OWNER}
    made: list[Ruleset] = []
    known: list[Set] = []
    for family in node.families:
        part, common = parts[iptables.tool(family)], _everywhere(node.policies, family)
        by_chain = {_pod_chain(pod): pod for pod in node.pods}
        chains = tuple(
            _with_jumps(chain, node, by_chain[chain.name], family) if chain.name in by_chain else chain
            for chain in part.chains
        )
        made.append(replace(part, chains=(*chains, *common.chains)))
        known += common.sets
    made.append(replace(parts["ipset"], sets=(*parts["ipset"].sets, *known)))
    return with_rulesets(space, made)


def _with_jumps(chain: Chain, node: Node, pod: Local, family: int) -> Chain:
    """A pod's chain with jumps to its policies, instead of the default of each direction in which it has any."""
    address = pod.member.address(family)
    in_and_out = [node.selecting(pod, direction) for direction in Direction]
    own = sorted(
        {one for each in in_and_out for one in each if one.tier is Tier.NETWORK_POLICY}, key=lambda one: one.order
    )
    kept, jumps = list(chain.rules), []
    for direction in Direction:
        if any(policy.rules(direction) is not None for policy in own):
            kept = [rule for rule in kept if _DEFAULT.format(direction.value) not in rule]
    for policy in reversed(own):  # Each is inserted before the others.
        sides = [side for side, rules in (("-d", policy.ingress), ("-s", policy.egress)) if rules is not None]
        to = f"{sides[0]} {address}/{32 if family == 4 else 128} " if len(sides) == 1 else ""
        comment = _comment(f"run through nw policy {policy.name}")
        jumps.append(f"{to}{comment} -j {_policy_chain(policy, family)}")
    at = next(number for number, rule in enumerate(kept) if _UNMARKED in rule)
    return replace(chain, rules=(*kept[:at], *jumps, *kept[at:]))


@dataclass(frozen=True)
class _Common:
    """The chains and sets of all policies in a family, which all nodes have."""

    chains: tuple[Chain, ...]
    sets: tuple[Set, ...]


@lru_cache(maxsize=2)
def _everywhere(policies: Policies, family: int) -> _Common:
    """The same for all nodes, so that it is made once."""
    chains: list[Chain] = []
    known: dict[str, Set] = {}
    for policy in policies:
        if policy.tier is Tier.NETWORK_POLICY:
            maker = _PolicyChain(policies, policy, family, known)
            chains.append(Chain("filter", _policy_chain(policy, family), tuple(maker.rules())))
    return _Common(tuple(chains), tuple(known.values()))


@dataclass
class _PolicyChain:
    """The chain of a policy, and its sets, as they are made."""

    policies: Policies
    policy: Policy
    family: int
    known: dict[str, Set]

    def rules(self) -> Iterator[str]:
        for direction in Direction:
            if self.policy.rules(direction) is None:
                continue
            prefix = "DST" if direction is Direction.INGRESS else "SRC"
            subject = self._pods(prefix, "", self.policy.subject)
            for way in ways(self.policies, self.policy, direction):
                yield from self._way(way, subject)

    def _way(self, way: Way, subject: str) -> Iterator[str]:
        """The two rules of a way: mark, and return if marked."""
        is_in = way.direction is Direction.INGRESS
        peers, named, rule = self._peers(way, is_in), "", f"{way.direction.value}rule{way.rule}"
        if way.having is not None:
            named = self._pods("DST", f"{rule}{way.named}", way.having, "namedport")
        source, target = (peers, named or subject) if is_in else (subject, named or peers)
        protocol = way.ports.protocol.lower() if way.ports else ""
        matches = (
            f"-p {protocol}" if protocol else "",
            _comment(self._comment(way, is_in)),
            f"-m set --match-set {source} src" if source else "",
            f"-m set --match-set {target} dst" if target else "",
            _dports(way.ports) if way.ports else "",
        )
        match = " ".join(filter(None, matches))
        yield f"{match} -j MARK --set-xmark {MARKED}"
        yield f"{match} -m mark --mark {MARKED} -j RETURN"

    def _peers(self, way: Way, is_in: bool) -> str:
        """The name of the set of the peers, which is added; empty for everything."""
        prefix, rule = "SRC" if is_in else "DST", f"{way.direction.value}rule{way.rule}"
        if way.peers.is_all:
            return ""
        if way.peers.blocks:
            members = tuple(line for block in way.peers.blocks for line in _members(block, self.family))
            return self._set(prefix, rule, "ipblock", "hash:net", members)
        return self._pods(prefix, rule, way.peers.pods, "pod")

    def _pods(self, prefix: str, rule: str, pods: Bits, what: str = "") -> str:
        addresses = self.policies.members.addresses(pods, self.family)
        return self._set(prefix, rule, what, "hash:ip", tuple(f"{address} timeout 0" for address in addresses))

    def _set(self, prefix: str, rule: str, what: str, type: str, members: tuple[str, ...]) -> str:
        text = f"{self.policy.namespace}{self.policy.name}{rule}{_FAMILIES[self.family]}{what}"
        name = f"{'' if self.family == 4 else 'inet6:'}KUBE-{prefix}-{_hash(text)}"
        inet = "inet" if self.family == 4 else "inet6"
        kind = f"{type} family {inet} hashsize 1024 maxelem 65536 timeout 0"
        self.known.setdefault(name, Set(name, kind, members))
        return name

    def _comment(self, way: Way, is_in: bool) -> str:
        name = f"{'' if way.peers.pods else ':'} {self.policy.name} namespace {self.policy.namespace}"
        if way.peers.is_all:
            who = "all sources to dest pods" if is_in else "source pods to all destinations"
        elif way.peers.blocks:
            who = "specified ipBlocks to dest pods" if is_in else "source pods to specified ipBlocks"
        else:
            who = "source pods to dest pods"
        return f"rule to ACCEPT traffic from {who} selected by policy name{name}"


def _members(block: Block, family: int) -> Iterator[str]:
    """A range and its exceptions, as members of a set; such a set cannot hold the whole family."""
    if block.network.version != family:
        return
    whole = list(block.network.subnets()) if block.network.prefixlen == 0 else [block.network]
    for network in whole:
        yield f"{_member(network)} timeout 0"
    for network in block.without:
        yield f"{_member(network)} timeout 0 nomatch"


def _member(network: object) -> str:
    return str(network).removesuffix("/32").removesuffix("/128")


def _dports(ports: Ports) -> str:
    if ports.has_all:
        return ""
    numbers = str(ports.first) if ports.first == ports.last else f"{ports.first}:{ports.last}"
    return f"-m {ports.protocol.lower()} --dport {numbers}"


def _pod_chain(pod: Local) -> str:
    return f"KUBE-POD-FW-{_hash(''.join(pod.member.key))}"


def _policy_chain(policy: Policy, family: int) -> str:
    return f"KUBE-NWPLCY-{_hash(policy.namespace + policy.name + _FAMILIES[family])}"


def _comment(comment: str) -> str:
    return f'-m comment --comment "{comment[:LONGEST_COMMENT]}"'


@lru_cache(maxsize=8192)
def _hash(text: str) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]
