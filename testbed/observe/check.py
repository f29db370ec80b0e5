"""Check a living lab against the Kubernetes network model: which pairs fail, and why.

The model is that of Kubernetes' conformance tests (test/e2e/common/network/networking.go and no_snat.go): every pod
reaches every pod, and every node reaches every pod and back, over TCP, UDP and ICMP; the right place answers, and it
sees the source's own address. In addition the path between each two nodes is tried with the largest packets, and with
messages that are larger.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from testbed.designs.design import Design
from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.evidence import MOST_TRACED, causes, lost_at, merged, with_differing
from testbed.observe.messages import SCTP_LACKS, Lost, check_messages, has_sctp
from testbed.observe.path_mtu import Misfit, check_path_mtu
from testbed.observe.reach import Progress, check_reach
from testbed.observe.served import Expected, Port, Question, Result, check_ports
from testbed.observe.share import shared
from testbed.observe.trace import trace
from testbed.observe.verdict import LARGE, MTU, PORT, Cause, Failure, Verdict
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Kind, Plan
from testbed.plan.plugged import unaddressed
from testbed.spec.topology import Topology

_UNASKED = (
    "egress (no external host in the topology)",
    "hostPort",
    "Services",
    "NetworkPolicies",
)


NOTHING_MORE = Expected()


def without(plan: Plan, pods: Collection[str]) -> Plan:
    """The plan without some pods, to ask the others."""
    if not pods:
        return plan
    return replace(
        plan,
        spaces=tuple(space for space in plan.spaces if space.name not in pods),
        veths=tuple(veth for veth in plan.veths if not {veth.a.space, veth.b.space} & set(pods)),
        children=tuple(child for child in plan.children if child.space not in pods),
        plugged=tuple(item for item in plan.plugged if item.space not in pods),
    )


def check(
    design: Design,
    topology: Topology,
    plan: Plan,
    namespaces: Namespaces,
    ended: Iterable[tuple[str, str, str]] = (),
    progress: Progress = lambda *_: None,
    expected: Expected = NOTHING_MORE,
) -> Verdict:
    """Ask every pair, and every port of a container; where pairs fail, trace a packet to where it is lost.

    Pods that a policy selects are asked at their ports alone, as nothing else of them is known.
    The processes that `ended` (see `Lab.ended`) may be the cause.
    """
    # All namespaces of the machine share one neighbour limit: free it of entries learned before.
    forget_learned_in(namespaces.values())
    whole, plan = plan, without(plan, expected.covered)
    reach = check_reach(plan, namespaces, progress=progress)
    is_reached = not reach.failed
    progress("sending the largest packets, and larger messages", 1)
    tried, misfits = check_path_mtu(plan, namespaces) if is_reached else (0, ())
    fits = is_reached and not misfits
    sent, lost = check_messages(plan, namespaces) if fits else (0, ())
    crossed, astray = check_crossings(design, topology, plan, namespaces) if is_reached else (0, ())
    served = check_ports(whole, namespaces, expected.ports) if is_reached else Result(0, ())
    bare = [pod for pod in plan.of_kind(Kind.POD) if not pod.reached_at]
    if not fits or lost:
        progress("tracing packets of failed pairs", 1)
    forget_learned_in(namespaces.values())
    failures = (
        *(Failure(q.source.name, q.target.name, q.protocol, str(q.address), what) for q, what in reach.failed),
        *(Failure(m.source.name, m.target.name, MTU, str(m.address), m.what) for m in misfits),
        *(Failure(p.source.name, p.target.name, LARGE, str(p.address), what) for p, what in lost),
        *(_failed_port(question, what) for question, what in served.failed),
    )
    return Verdict(
        places=tuple(space.name for space in whole.of_kind(Kind.NODE, Kind.POD) if space.reached_at),
        asked=reach.asked + tried + sent + crossed + served.asked,
        failures=failures,
        astray=astray,
        causes=(
            *causes(reach.failed, plan, namespaces),
            *_causes_of_misfits(misfits, plan, namespaces),
            *_causes_of_lost(lost, plan, namespaces),
            *merged(((q.source.name, q.target.name), _found_at(q.port, what)) for q, what in served.failed),
        ),
        ended=tuple(f"{place}: {what}" for place, what, _ in ended) if failures or astray else (),
        unasked=(
            *(() if is_reached else ("path MTU, large messages and paths on the fabric (pairs fail)",)),
            *(("large messages (the path MTU fails)",) if misfits else ()),
            *((served.partly,) if served.partly else ()),
            *(() if has_sctp() else (f"SCTP ({SCTP_LACKS})",)),
            *(what for what in _UNASKED if what not in expected.asked),
            *(f"{pod.name} ({'no address' if plan.devices_of(pod.name) else 'detached'})" for pod in bare),
        ),
        unaddressed=tuple(unaddressed(plan)),
    )


def _failed_port(question: Question, found: str) -> Failure:
    source, target, address, port = question
    return Failure(source.name, target.name, PORT, str(address), _found_at(port, found))


def _found_at(port: Port, found: str) -> str:
    return f"{port}: {found}"


def _causes_of_misfits(misfits: Iterable[Misfit], plan: Plan, namespaces: Namespaces) -> tuple[Cause, ...]:
    """The causes of packets that were too large for a link on their path."""
    traced = [misfit for misfit in misfits if misfit.is_lost][:MOST_TRACED]

    def reason(number: int, _: int) -> str:
        source, target, address, what, _ = traced[number]
        walk = trace(plan, namespaces, source.name, target.name, "icmp", size=plan.pod_mtu, family=address.version)
        return with_differing(f"{what}; {lost_at(walk)}", plan, namespaces, source, target)

    reasons = shared(reason, len(traced)) if traced else []
    return merged(((m.source.name, m.target.name), reason) for m, reason in zip(traced, reasons, strict=True))


def _causes_of_lost(lost: Iterable[Lost], plan: Plan, namespaces: Namespaces) -> tuple[Cause, ...]:
    """What differs at the ends of paths on which large messages do not come back; small ones do."""
    return merged(
        ((source.name, target.name), with_differing(f"{what}; smaller ones do", plan, namespaces, source, target))
        for (source, target, _), what in lost
    )
