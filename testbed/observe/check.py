"""Check a living lab against the Kubernetes network model: which pairs fail, and why.

The model is that of Kubernetes' conformance tests (test/e2e/common/network/networking.go and no_snat.go): every pod
reaches every pod, and every node reaches every pod and back, over TCP, UDP and ICMP; the right place answers, and it
sees the source's own address. In addition the path between each two nodes is tried with the largest packets.
"""

from collections.abc import Iterable, Iterator

from testbed.designs.design import Design
from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.path_mtu import Misfit, check_path_mtu
from testbed.observe.ports import REACH_PORT
from testbed.observe.questions import Question
from testbed.observe.reach import check_reach
from testbed.observe.shots import Protocol
from testbed.observe.trace import NO_REASON, Walk, trace
from testbed.observe.verdict import MTU, Cause, Failure, Verdict
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Kind, Plan
from testbed.plan.plugged import unaddressed
from testbed.spec.topology import Topology

MOST_TRACED = 8
"""Most groups of failed pairs that are traced; one fault makes few groups."""


def check(
    design: Design,
    topology: Topology,
    plan: Plan,
    namespaces: Namespaces,
    ended: Iterable[tuple[str, str, str]] = (),
) -> Verdict:
    """Ask every pair; where pairs fail, trace a packet to where it is lost.

    The processes that `ended` (see `Lab.ended`) may be the cause.
    """
    # All namespaces of the machine share one neighbour limit: free it of entries learned before.
    forget_learned_in(namespaces.values())
    reach = check_reach(plan, namespaces)
    tried, misfits = check_path_mtu(plan, namespaces) if not reach.failed else (0, ())
    sent, astray = check_crossings(design, topology, plan, namespaces) if not reach.failed else (0, ())
    forget_learned_in(namespaces.values())
    return Verdict(
        # A detached pod has no address and is not asked.
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
        ended=tuple(f"{place}: {what}" for place, what, _ in ended) if reach.failed or misfits or astray else (),
        unaddressed=tuple(unaddressed(plan)),
    )


def _causes(failed: Iterable[Question], plan: Plan, namespaces: Namespaces) -> Iterator[Cause]:
    """One cause for each group of pairs between the same two nodes and kinds of place: one trace for all of them."""
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
    """The causes of packets that were too large for a link on their path."""
    for source, target, address, what, _ in [misfit for misfit in misfits if misfit.is_lost][:MOST_TRACED]:
        ends = source.name, target.name
        walk = trace(plan, namespaces, *ends, "icmp", size=plan.pod_mtu, family=address.version)
        yield Cause((ends,), f"{what}; {_lost_at(walk)}")


def _reason(failed: list[Question], plan: Plan, namespaces: Namespaces) -> str:
    question = failed[0]
    # Trace the simplest protocol that fails in the group.
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
        return "; ".join(rewritten) or "not reproduced: a packet sent after the check was answered"
    return _lost_at(walk)


def _lost_at(walk: Walk) -> str:
    return f"{walk.end}; {walk.reason or NO_REASON}"
