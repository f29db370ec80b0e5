"""Resolved policies: sets of pods instead of selectors, ranges of ports, one order of precedence."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cached_property

from testbed.kubernetes.policies.members import Bits, Member, Members, Place, numbers_in
from testbed.spec.problems import Loc
from testbed.spec.types import Address, Network

LAST_PORT = 65535
PROTOCOLS = ("TCP", "UDP", "SCTP")


class Action(Enum):
    """What a rule does with traffic that it matches."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"
    """The next tier decides."""


class Tier(IntEnum):
    """Groups of policies, in the order in which they decide."""

    ADMIN = 0
    NETWORK_POLICY = 1
    BASELINE = 2


class Direction(Enum):
    """Seen from the pods that a policy selects."""

    INGRESS = "ingress"
    EGRESS = "egress"


@dataclass(frozen=True, slots=True)
class Ports:
    """A range of ports of a protocol, or a container's port by its name."""

    protocol: str
    """Empty for any, with a name."""
    first: int = 1
    last: int = LAST_PORT
    name: str = ""

    @property
    def has_all(self) -> bool:
        """Whether it covers the whole protocol."""
        return not self.name and (self.first, self.last) == (1, LAST_PORT)

    def cover(self, target: Member | None, port: int, protocol: str) -> bool:
        """Whether they cover a port of the target; only pods have named ports."""
        if self.name:
            is_own = self.protocol in ("", protocol)
            return is_own and target is not None and target.has_port(self.name, protocol, port)
        return self.protocol == protocol and self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Block:
    """A range of addresses without parts of it."""

    network: Network
    without: tuple[Network, ...] = ()

    def covers(self, address: Address) -> bool:
        """Whether an address is in it."""
        return address in self.network and not any(address in one for one in self.without)


@dataclass(frozen=True, slots=True)
class Selected:
    """The pods of one peer, chosen by labels."""

    namespaces: str
    """The selector of namespaces, as kubectl prints it; empty for all."""
    labels: str
    """The selector of pods, likewise."""
    pods: Bits


@dataclass(frozen=True, eq=False, slots=True)
class Peers:
    """The other side of a rule's traffic."""

    pods: Bits = 0
    """Chosen by labels: those of all `selected`."""
    selected: tuple[Selected, ...] = ()
    blocks: tuple[Block, ...] = ()
    """Chosen by address; pods may have addresses in them too."""
    is_all: bool = False

    def include(self, place: Place) -> bool:
        """Whether a place is one of them."""
        if self.is_all:
            return True
        if place.pod and self.pods >> place.pod.number & 1:
            return True
        return place.address is not None and any(block.covers(place.address) for block in self.blocks)


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """What to do with some traffic of one direction."""

    action: Action
    peers: Peers
    ports: tuple[Ports, ...]
    """Empty for all ports of all protocols."""
    loc: Loc
    """Its place in the policy's manifest."""
    name: str = ""

    def __str__(self) -> str:
        """`ingress[0]`, or `ingress[0] "allow-dns"` with a name."""
        _, direction, number, *_ = self.loc
        return f"{direction}[{number}]" + (f' "{self.name}"' if self.name else "")

    def covers(self, target: Member | None, port: int, protocol: str) -> bool:
        """Whether the rule is about a port of the target; without ports it is about every protocol."""
        return not self.ports or any(one.cover(target, port, protocol) for one in self.ports)


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy that selects some pods."""

    kind: str
    namespace: str
    """Empty for policies of the whole cluster."""
    name: str
    tier: Tier
    priority: int
    subject: Bits
    """The pods that it selects."""
    ingress: tuple[Rule, ...] | None
    """None if it does not decide about this direction."""
    egress: tuple[Rule, ...] | None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of a direction, in order; None if the policy does not decide about it."""
        return self.ingress if direction is Direction.INGRESS else self.egress

    @property
    def order(self) -> tuple[int, int, str, str]:
        """Sort key. Between equal priorities Kubernetes leaves the order open; here names decide."""
        return self.tier, self.priority, self.namespace, self.name


@dataclass(frozen=True, eq=False)
class Policies:
    """All policies of a cluster, in order of precedence."""

    members: Members
    policies: tuple[Policy, ...]
    remarks: tuple[str, ...] = ()
    """What a user should know: policies that select nobody, parts that are left out."""
    _in_blocks: dict[tuple[Block, ...], Bits] = field(default_factory=dict, repr=False)

    @cached_property
    def _selecting(self) -> dict[Direction, dict[int, tuple[Policy, ...]]]:
        found: dict[Direction, dict[int, list[Policy]]] = {direction: {} for direction in Direction}
        for policy in self.policies:
            for direction, by_pod in found.items():
                if policy.rules(direction) is not None:
                    for number in numbers_in(policy.subject):
                        by_pod.setdefault(number, []).append(policy)
        # Pods that are selected by the same policies share one tuple.
        same: dict[tuple[Policy, ...], tuple[Policy, ...]] = {}
        return {
            direction: {number: same.setdefault(own := tuple(each), own) for number, each in by_pod.items()}
            for direction, by_pod in found.items()
        }

    def selecting(self, pod: Member, direction: Direction) -> tuple[Policy, ...]:
        """The policies that decide about a pod's traffic in a direction, in order of precedence."""
        return self._selecting[direction].get(pod.number, ())

    def pods_in(self, peers: Peers, family: int) -> Bits:
        """The pods among peers, in a family: by labels, and by their addresses."""
        if peers.is_all:
            return self.members.all
        blocks = tuple(one for one in peers.blocks if one.network.version == family)
        if blocks not in self._in_blocks:
            self._in_blocks[blocks] = self._in(blocks)
        return peers.pods | self._in_blocks[blocks]

    def _in(self, blocks: tuple[Block, ...]) -> Bits:
        found = 0
        for block in blocks:
            inside = self.members.in_range(block.network)
            for part in block.without:
                inside &= ~self.members.in_range(part)
            found |= inside
        return found

    def __iter__(self) -> Iterator[Policy]:
        return iter(self.policies)
