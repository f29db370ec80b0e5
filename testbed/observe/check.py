"""Whether a living lab is what Kubernetes wants of a network, who cannot reach whom, and why.

The model, as Kubernetes' own conformance tests ask for it (test/e2e/common/network/networking.go and no_snat.go): every
pod reaches every pod, and every node every pod and the other way round, over TCP, UDP and ICMP; the right one answers,
and it has seen the asker's own address. Beyond them the path between each two nodes is tried with the largest packets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.designs.design import Design
from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.path_mtu import Misfit, check_path_mtu
from testbed.observe.ports import REACH_PORT
from testbed.observe.questions import PROTOCOLS, Question
from testbed.observe.reach import check_reach
from testbed.observe.shots import Protocol
from testbed.observe.trace import Walk, trace
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Kind, Plan
from testbed.spec.topology import Topology

MTU = "mtu"
"""What a pair fails over that the largest packets do not fit, beside the protocols."""
MOST_TRACED = 8
"""So many groups of failed pairs are looked into: a break of one thing makes few groups."""


@dataclass(frozen=True)
class Failure:
    """A pair that failed over one protocol and address."""

    source: str
    target: str
    protocol: str
    address: str
    what: str


@dataclass(frozen=True)
class Cause:
    """Why pairs fail, as far as the kernel tells."""

    pairs: tuple[tuple[str, str], ...]
    """Source and target of each pair that fails for it."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    places: tuple[str, ...]
    """Pods and nodes, in the plan's order."""
    asked: int
    failures: tuple[Failure, ...]
    astray: tuple[str, ...]
    """Packets between nodes that took another way than the design claims."""
    causes: tuple[Cause, ...]
    ended: tuple[str, ...] = ()
    """Programs and daemons of the design that run no more, if anything failed."""

    @property
    def is_good(self) -> bool:
        return not self.failures and not self.astray


def check(
    design: Design,
    topology: Topology,
    plan: Plan,
    namespaces: Namespaces,
    ended: Iterable[tuple[str, str, str]] = (),
) -> Verdict:
    """Asks every pair; where pairs fail, follows a packet of theirs to where it is lost.

    What is `ended`, as the lab tells (`Lab.ended`), may be why.
    """
    # All namespaces of the machine share the room for neighbours; what was learned before would be in the way.
    forget_learned_in(namespaces.values())
    reach = check_reach(plan, namespaces)
    tried, misfits = check_path_mtu(plan, namespaces) if not reach.failed else (0, ())
    sent, astray = check_crossings(design, topology, plan, namespaces) if not reach.failed else (0, ())
    forget_learned_in(namespaces.values())
    return Verdict(
        # A pod whose attachment was taken back has no address, and nobody asks for it.
        places=tuple(space.name for space in plan.of_kind(Kind.NODE, Kind.POD) if space.reached_at),
        asked=reach.asked + tried + sent,
        failures=(
            *(Failure(q.source.name, q.target.name, q.protocol, str(q.address), what) for q, what in reach.failed),
            *(Failure(m.source.name, m.target.name, MTU, str(m.address), m.what) for m in misfits),
        ),
        astray=astray,
        causes=(
            *_causes([question for question, _ in reach.failed], plan, namespaces),
            *_causes_of_misfits(misfits, plan, namespaces),
        ),
        ended=tuple(f"in {place}: {what}" for place, what, _ in ended) if reach.failed or misfits or astray else (),
    )


def _causes(failed: Iterable[Question], plan: Plan, namespaces: Namespaces) -> Iterator[Cause]:
    """Pairs between the same two nodes, and to the same kind of place, most likely fail for the same reason."""
    groups: dict[tuple[str, str, str, str, int], list[Question]] = {}
    for q in failed:
        key = (q.source.home, q.source.kind, q.target.home, q.target.kind, q.address.version)
        groups.setdefault(key, []).append(q)
    found: dict[str, dict[tuple[str, str], None]] = {}
    for members in list(groups.values())[:MOST_TRACED]:
        reason = _reason(members, plan, namespaces)
        found.setdefault(reason, {}).update({(q.source.name, q.target.name): None for q in members})
    for reason, pairs in found.items():
        yield Cause(tuple(pairs), reason)


def _causes_of_misfits(misfits: Iterable[Misfit], plan: Plan, namespaces: Namespaces) -> Iterator[Cause]:
    """Of packets that were too large for something on their way."""
    for source, target, address, what, _ in [misfit for misfit in misfits if misfit.is_lost][:MOST_TRACED]:
        ends = source.name, target.name
        walk = trace(plan, namespaces, *ends, "icmp", size=plan.pod_mtu, family=address.version)
        yield Cause((ends,), f"{what}; {_lost_at(walk)}")


def _reason(failed: list[Question], plan: Plan, namespaces: Namespaces) -> str:
    question = failed[0]
    # Every group is of one kind; the one that it fails over most simply is followed.
    protocol: Protocol = min((q.protocol for q in failed), key=("udp", "tcp", "icmp").index)
    ends = question.source.name, question.target.name
    walk = trace(plan, namespaces, *ends, protocol, REACH_PORT, family=question.address.version)
    if walk.outcome == "answered":
        rewritten = [
            f"{change} at {hop.device} of {hop.place}"
            for hop in walk.forth
            for change in hop.changes
            if "NAT" in change
        ]
        return "; ".join(rewritten) or "a packet that was sent when the check was over was answered"
    return _lost_at(walk)


def _lost_at(walk: Walk) -> str:
    last = (*walk.forth, *walk.back)[-1:]
    where = f"last seen at {last[0].device} of {last[0].place}" if last else f"never left {walk.source}"
    return f"{where}: {walk.reason or 'the kernel says nothing of why'}"


def matrix(verdict: Verdict) -> dict[tuple[str, str], str]:
    """By source and target: empty if all went well, else what failed, such as `tcp udp`."""
    failed: dict[tuple[str, str], set[str]] = {}
    for item in verdict.failures:
        failed.setdefault((item.source, item.target), set()).add(item.protocol)
    return {
        (source, target): " ".join(p for p in (*PROTOCOLS, MTU) if p in failed.get((source, target), ()))
        for source in verdict.places
        for target in verdict.places
        if source != target
    }
