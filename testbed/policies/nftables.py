"""The engine for designs without one of their own: kube-network-policies' semantics in sets and verdict maps.

All rules are in one table, and start from one hook: postrouting, after Services have chosen their pod and before any
masquerading, so that a packet has the addresses of both pods. In the order in which a packet meets them:

    ct direction reply accept                     replies follow their connection
    ct state related accept                       so do its ICMP errors
    ct mark GENERATION accept                     this connection was accepted under these very rules
    icmpv6 type { nd-..., } accept                neighbour discovery
    meta skuid 0 accept                           root on this node: kubelet's probes
    ip saddr @node-4 accept                       this node, where its packets to pods are bridged
    ip daddr @node-4 accept                       and back
    ip saddr . ip daddr @itself-4 accept          a pod to itself, through a Service
    ip saddr vmap @egress-4                       10.244.0.2 : jump egress-7QPK..., for pods with policies
    ip daddr vmap @ingress-4                      10.244.0.2 : jump ingress-M3QL...
    ct mark set GENERATION

Pods that are selected by the same policies share a chain. Its rules return what is accepted, drop what is denied, and
go to the chain of the next tier with what is passed. A chain of NetworkPolicies ends with a drop.
The generation is a hash of all rules and sets: after any change, the next packet of each connection is judged again.
"""

import hashlib
from base64 import b32encode
from collections.abc import Iterable, Iterator
from typing import Any

from testbed.kubernetes.policies import Action, Direction, Policy, Rule, Tier, ToOwnNode
from testbed.kubernetes.policies.members import Bits, bits_of
from testbed.kubernetes.policies.rules import LAST_PORT, PROTOCOLS
from testbed.plan.objects import DeviceAddress, Space
from testbed.plan.rulesets import Chain, Hook, Ruleset, Set
from testbed.plan.rulesets.nftables import rule, set_of
from testbed.policies import sets
from testbed.policies.enforcing import with_bridged_packets, with_rulesets
from testbed.policies.engine import Engine, Local, Node
from testbed.spec.types import Address, Network

TABLE = "inet kube-network-policies"
PRIORITY = 95
"""Before masquerading, at 100."""
OWNER = "policies"
LONGEST_NAME = 200
_ADDRESSES = {4: "ipv4_addr", 6: "ipv6_addr"}
_HEADERS = {4: "ip", 6: "ip6"}
_NEIGHBOUR_DISCOVERY = ("nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert")
Match = list[Any]
"""Expressions that must all match."""

ACCEPT, RETURN, DROP = {"accept": None}, {"return": None}, {"drop": None}


def enforce(space: Space, node: Node) -> Space:
    """A node's space with the table, if policies select pods of the node."""
    table = _Table(node, [item.interface.ip for item in space.of(DeviceAddress)])
    chains = [*table.dispatched(Direction.EGRESS), *table.dispatched(Direction.INGRESS)]
    if not chains:
        return with_rulesets(space, ())
    known = sorted(table.sets.values(), key=lambda one: one.name)
    generation = _generation(chains, known)
    top = Chain(TABLE, "postrouting", tuple(_top(node, generation)), hook=Hook("filter", "postrouting", PRIORITY))
    part = Ruleset(OWNER, "nftables", (top, *chains), tuple(known))
    return with_rulesets(with_bridged_packets(space, node.families), [part])


def _generation(chains: Iterable[Chain], known: Iterable[Set]) -> int:
    """A number for these rules and sets, which is not 0."""
    digest = hashlib.sha256(repr((list(chains), list(known))).encode()).digest()
    return int.from_bytes(digest[:4], "big") | 1


def _top(node: Node, generation: int) -> Iterator[str]:
    mark = {"ct": {"key": "mark"}}
    yield rule(_is({"ct": {"key": "direction"}}, "reply"), ACCEPT)
    yield rule({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "related"}}, ACCEPT)
    yield rule(_is(mark, generation), ACCEPT)
    yield rule(_is(_field("icmpv6", "type"), {"set": list(_NEIGHBOUR_DISCOVERY)}), ACCEPT)
    yield rule(_is({"meta": {"key": "skuid"}}, 0), ACCEPT)
    for family in node.families:
        yield rule(_is(_address(family, "saddr"), f"@node-{family}"), ACCEPT)
        yield rule(_is(_address(family, "daddr"), f"@node-{family}"), ACCEPT)
        both = {"concat": [_address(family, "saddr"), _address(family, "daddr")]}
        yield rule(_is(both, f"@itself-{family}"), ACCEPT)
        yield rule({"vmap": {"key": _address(family, "saddr"), "data": f"@egress-{family}"}})
        yield rule({"vmap": {"key": _address(family, "daddr"), "data": f"@ingress-{family}"}})
    yield rule({"mangle": {"key": mark, "value": generation}})


class _Table:
    """The chains of a node's pods, and the sets that they need."""

    def __init__(self, node: Node, own: Iterable[Address]) -> None:
        self.node = node
        self.members = node.policies.members
        self.local: Bits = bits_of(pod.member.number for pod in node.pods)
        self.sets: dict[str, Set] = {}
        of_node = {family: sorted({one for one in own if one.version == family}, key=int) for family in (4, 6)}
        for family in node.families:
            self._set(f"node-{family}", _ADDRESSES[family], map(str, of_node[family]))
            covered = [pod for pod in node.pods if any(node.selecting(pod, direction) for direction in Direction)]
            pairs = [{"concat": [address] * 2} for pod in covered if (address := _of(pod, family))]
            self._set(f"itself-{family}", [_ADDRESSES[family]] * 2, pairs)

    def dispatched(self, direction: Direction) -> list[Chain]:
        """The chains of a direction, with the maps that lead to them."""
        chains: dict[str, Chain] = {}
        leading: dict[int, list[Any]] = {family: [] for family in self.node.families}
        for pod in self.node.pods:
            if selecting := self.node.selecting(pod, direction):
                name = self._chain(selecting, direction, chains)
                for family in self.node.families:
                    if address := _of(pod, family):
                        leading[family].append([address, {"jump": {"target": name}}])
        for family, elements in leading.items():
            self._set(f"{direction.value}-{family}", _ADDRESSES[family], elements, to="verdict")
        return list(chains.values())

    def _chain(self, selecting: tuple[Policy, ...], direction: Direction, chains: dict[str, Chain]) -> str:
        """Adds the chain of some policies, and those of their later tiers. Returns its name."""
        name = f"{direction.value}-{_hash(' '.join(map(str, selecting)))}"
        if name not in chains:
            tier = selecting[0].tier
            own = [policy for policy in selecting if policy.tier is tier]
            # NetworkPolicies always decide, so nothing comes after them.
            later = tuple(policy for policy in selecting if policy.tier > tier and tier is not Tier.NETWORK_POLICY)
            onward = {"goto": {"target": self._chain(later, direction, chains)}} if later else RETURN
            rules = [line for policy in own for line in self._rules(policy, direction, onward)]
            end = [rule(DROP)] if tier is Tier.NETWORK_POLICY else [rule(onward)] if later else []
            chains[name] = Chain(TABLE, name, (*rules, *end))
        return name

    def _rules(self, policy: Policy, direction: Direction, onward: Any) -> Iterator[str]:
        """The rules of a policy, with its name as comment."""
        verdicts = {Action.ACCEPT: RETURN, Action.DENY: DROP, Action.PASS: onward}
        who = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
        for one in policy.rules(direction) or ():
            for match in self._matches(policy, one, direction):
                yield rule(*match, verdicts[one.action], comment=_short(f"{who} {direction.value}[{one.loc[2]}]", 120))

    def _matches(self, policy: Policy, one: Rule, direction: Direction) -> Iterator[Match]:
        """Alternative matches for the traffic of a rule."""
        path = f"{policy}/{direction.value}/{one.loc[2]}"
        for family, peers in self._peers(path, one, direction):
            for of, ports in self._ports(path, policy, one, direction):
                if family is None or of is None or family == of:
                    yield [*peers, *ports]

    def _peers(self, path: str, one: Rule, direction: Direction) -> Iterator[tuple[int | None, Match]]:
        """Matches of the peers, with their family."""
        if one.peers.is_all:
            yield None, []
            return
        side = "saddr" if direction is Direction.INGRESS else "daddr"
        for family in self.node.families:
            if one.peers.pods:
                name = self._named(f"{path}/pods-{family}")
                self._set(name, _ADDRESSES[family], self.members.addresses(one.peers.pods, family))
                yield family, [_is(_address(family, side), f"@{name}")]
            ranges = sets.ranges(one.peers.blocks, family)
            if ranges and ranges[0].prefixlen == 0:
                yield family, [_is({"meta": {"key": "nfproto"}}, f"ipv{family}")]
            elif ranges:
                name = self._named(f"{path}/blocks-{family}")
                self._set(name, _ADDRESSES[family], map(_range, ranges), flags=("interval",))
                yield family, [_is(_address(family, side), f"@{name}")]

    def _ports(self, path: str, policy: Policy, one: Rule, direction: Direction) -> Iterator[tuple[int | None, Match]]:
        """Matches of the ports, with their family."""
        if not one.ports:
            yield None, []
        for protocol in PROTOCOLS:
            numbers = sets.port_ranges(one, protocol)
            if numbers == ((1, LAST_PORT),):
                yield None, [_is({"meta": {"key": "l4proto"}}, protocol.lower())]
            elif numbers:
                yield None, [_is(_field(protocol.lower(), "dport"), _port_set(numbers))]
        targets = policy.subject & self.local if direction is Direction.INGRESS else self.members.all
        for family in self.node.families if any(port.name for port in one.ports) else ():
            found = sets.named_ports(self.members, one, targets, family)
            elements = [{"concat": [str(address), protocol.lower(), port]} for address, protocol, port in found]
            name = self._named(f"{path}/ports-{family}")
            self._set(name, [_ADDRESSES[family], "inet_proto", "inet_service"], elements)
            key = {"concat": [_address(family, "daddr"), {"meta": {"key": "l4proto"}}, _field("th", "dport")]}
            yield family, [_is(key, f"@{name}")]

    def _named(self, path: str) -> str:
        """The name of a set: a hash, and for readers as much of the path as fits."""
        return _short(f"{_hash(path)}-{path.partition(' ')[2]}", LONGEST_NAME)

    def _set(self, name: str, type: str | list[str], elements: Iterable[Any], **more: Any) -> None:
        if name not in self.sets:
            self.sets[name] = set_of(name, TABLE, type, elements, **more)


def _of(pod: Local, family: int) -> str:
    address = pod.member.address(family)
    return str(address) if address else ""


def _is(left: Any, right: Any) -> Any:
    return {"match": {"op": "==", "left": left, "right": right}}


def _field(protocol: str, name: str) -> Any:
    return {"payload": {"protocol": protocol, "field": name}}


def _address(family: int, side: str) -> Any:
    return _field(_HEADERS[family], side)


def _range(network: Network) -> Any:
    """A range as nft lists it."""
    first = str(network.network_address)
    if network.prefixlen == network.max_prefixlen:
        return first
    return {"prefix": {"addr": first, "len": network.prefixlen}}


def _port_set(numbers: Iterable[tuple[int, int]]) -> Any:
    found = [first if first == last else {"range": [first, last]} for first, last in numbers]
    return {"set": found} if len(found) > 1 else found[0]


def _hash(text: str) -> str:
    return b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


ENGINE = Engine(
    "nftables",
    enforce,
    "sets and verdict maps of nftables, with the semantics of kube-network-policies",
    to_own_node=ToOwnNode.NONE,
    needs=("nftables", "bridge-nf"),
    programs=("nft",),
    unlike="""
Unlike kube-network-policies, which queues the first packet of each connection to a judge in user space, rules in the
kernel decide.
Unlike kube-network-policies, which lets only root on a pod's own node reach the pod, all programs of the node do.
Unlike the standard, rules of ClusterNetworkPolicies do not keep a pod from its own node: these packets never reach the
hook.
""",
)
