"""Why pairs fail: what the asking sockets received, one traced packet for each group of pairs, and what differs there.

Packets are traced at the same time, so that many groups take no longer than one.
"""

import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

from testbed.kernel.refusal import Namespaces
from testbed.observe.asker import NO_ANSWER
from testbed.observe.inspect import differences, state_for
from testbed.observe.ports import REACH_PORT
from testbed.observe.questions import Question
from testbed.observe.reach import is_by_another, is_translated
from testbed.observe.share import shared
from testbed.observe.shots import Protocol
from testbed.observe.trace import NO_REASON, Walk, trace
from testbed.observe.verdict import Cause
from testbed.plan.objects import Plan, Space

MOST_TRACED = 8
"""Most groups of failed pairs that are traced; one fault makes few groups."""
MOST_COMPARED = 16
"""Most further groups for which the ends and their nodes are compared with the plan."""
_ENOUGH_S = 2.0
"""No more packets are traced after this time."""
_SIMPLEST: tuple[Protocol, ...] = ("icmp", "udp", "tcp")
Failed = tuple[Question, str]
"""A question, and why it failed."""


def causes(failed: Iterable[Failed], plan: Plan, namespaces: Namespaces) -> tuple[Cause, ...]:
    """One cause for each group of pairs between the same two nodes and kinds of place."""
    groups: dict[tuple[str, str, str, str, int], list[Failed]] = {}
    for question, why in failed:
        source, target = question.source, question.target
        key = (source.home, source.kind, target.home, target.kind, question.address.version)
        groups.setdefault(key, []).append((question, why))
    begin, left = time.monotonic(), list(groups.values())[:MOST_TRACED]
    found = list[tuple[tuple[str, str], str]]()
    with ExitStack() as stack:
        _accept(left, namespaces, stack)
        while left and time.monotonic() - begin < _ENOUGH_S:
            now = _apart(left)
            reasons = shared(lambda number, _: _reason(now[number], plan, namespaces), len(now))  # noqa: B023 - called here
            for members, reason in zip(now, reasons, strict=True):
                found += (((question.source.name, question.target.name), reason) for question, _ in members)
            left = [members for members in left if members not in now]
    for members in [*left, *list(groups.values())[MOST_TRACED:]][:MOST_COMPARED]:
        if differing := with_differing("", plan, namespaces, members[0][0].source, members[0][0].target):
            found += (((question.source.name, question.target.name), differing) for question, _ in members)
    return merged(found)


def _accept(groups: Iterable[Sequence[Failed]], namespaces: Namespaces, stack: ExitStack) -> None:
    """Accept the connections of all traces over TCP: one trace alone could listen at a target."""
    for question, protocol in map(_simplest, groups):
        if protocol == "tcp":
            with namespaces[question.target.name].entered():
                family = socket.AF_INET if question.address.version == 4 else socket.AF_INET6
                listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # The address is missing, or another group has the same target.
                listener.bind((question.to, REACH_PORT))
                listener.listen()


def merged(found: Iterable[tuple[tuple[str, str], str]]) -> tuple[Cause, ...]:
    """One cause for all pairs with the same reason."""
    pairs: dict[str, dict[tuple[str, str], None]] = {}
    for pair, reason in found:
        pairs.setdefault(reason, {})[pair] = None
    return tuple(Cause(tuple(own), reason) for reason, own in pairs.items())


def with_differing(reason: str, plan: Plan, namespaces: Namespaces, *ends: Space) -> str:
    """The reason, and what differs from the plan at both ends and their nodes; not where the reason names the place."""
    more = list[str]()
    for place in dict.fromkeys(name for space in ends for name in (space.name, space.home)):
        if f"{place}: " not in reason:
            with namespaces[place].entered():
                now = state_for(plan[place])
            more += (f"{place}: {difference.what}" for difference in differences(plan, plan[place], now))
    if not more:
        return reason
    return "; ".join(filter(None, (reason.replace(NO_REASON, "").rstrip("; "), *more)))


def lost_at(walk: Walk) -> str:
    """Where and why a traced packet was lost."""
    return f"{walk.end}; {walk.reason or NO_REASON}"


def _apart(groups: Sequence[Sequence[Failed]]) -> list[Sequence[Failed]]:
    """Groups whose packets can be traced at the same time: over UDP, a target answers one at a time."""
    taken, apart = set[str](), list[Sequence[Failed]]()
    for members in groups:
        question, protocol = _simplest(members)
        if protocol != "udp" or question.target.name not in taken:
            apart.append(members)
        if protocol == "udp":
            taken.add(question.target.name)
    return apart


def _simplest(members: Sequence[Failed]) -> tuple[Question, Protocol]:
    """The question to trace, and the simplest protocol that fails in the group."""
    question = _strongest(members)[0]
    return question, min((each.protocol for each, _ in members), key=_SIMPLEST.index)


def _strongest(members: Sequence[Failed]) -> Failed:
    """The question with the strongest evidence: a wrong answer, then an error, then no answer."""

    def weakness(item: Failed) -> tuple[bool, bool, bool]:
        _, why = item
        return not is_by_another(why), not is_translated(why), why == NO_ANSWER

    return min(members, key=weakness)


def _reason(members: Sequence[Failed], plan: Plan, namespaces: Namespaces) -> str:
    question, protocol = _simplest(members)
    _, why = _strongest(members)
    ends = question.source, question.target
    walk = trace(plan, namespaces, ends[0].name, ends[1].name, protocol, REACH_PORT, family=question.address.version)
    if walk.outcome != "answered":
        said = lost_at(walk)
    elif is_by_another(why) or is_translated(why):
        said = "; ".join(_translations(walk)) or walk.reason
    else:
        said = f"repeated questions got no answer, but one traced packet ({protocol}) did"
    evidence = "" if why == NO_ANSWER else why
    return with_differing("; ".join(filter(None, (evidence, said))), plan, namespaces, *ends)


def _translations(walk: Walk) -> list[str]:
    hops = walk.forth
    return [f"{change} at {hop.device} of {hop.place}" for hop in hops for change in hop.changes if "NAT" in change]
