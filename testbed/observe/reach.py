"""Test the Kubernetes network model on every pair of pods and nodes, over TCP, UDP and ICMP.

An answer proves three things: packets pass in both directions, the right place answered, and the source address was
not changed (no NAT between pods). The kernel answers ICMP itself, so there only the first is tested.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.asker import Answer, Asker
from testbed.observe.ports import REACH_PORT
from testbed.observe.questions import (
    MOST_NEIGHBOURS,
    PROTOCOLS,
    Question,
    asked_in,
    batches,
    own_addresses,
    tiles,
)
from testbed.observe.round_trip import RoundTrip
from testbed.observe.share import shared
from testbed.observe.shots import Protocol
from testbed.plan.objects import Kind, Plan
from testbed.spec.types import Address

_WORTH_SHARING = 5000
"""Questions from which on a second process is used."""
_BY, _SEEN = "answered by", "target saw source address"
_MOST_PROCESSES = 2
"""Each process has its own port and a share of the neighbour limit."""


@dataclass(frozen=True)
class Reach:
    """How many questions were asked, and which failed, each with the reason."""

    asked: int
    failed: tuple[tuple[Question, str], ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each."""
        return tuple(f"{question}: {why}" for question, why in self.failed)

    @property
    def passed(self) -> int:
        return self.asked - len(self.failed)


Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of it that is done, 0 to 1."""


def check_reach(
    plan: Plan,
    namespaces: Namespaces,
    protocols: Sequence[Protocol] = PROTOCOLS,
    progress: Progress = lambda *_: None,
) -> Reach:
    """Ask every question of the plan and wait for the answers; two processes share many questions.

    What remains open is repeated by one process: neither flushes entries that the other one is resolving then.
    """
    places = len(plan.of_kind(Kind.POD, Kind.NODE))
    many = places * places * len(protocols) >= _WORTH_SHARING
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES) if many else 1
    parts = shared(partial(_share, plan, namespaces, protocols, progress), processes)
    failed = [_asked(plan, item) for part in parts for item in part.failed]
    unanswered = [_asked(plan, item) for part in parts for item in part.unanswered]
    if unanswered:
        progress(f"repeating {len(unanswered)} questions without an answer", 1)
        slowest = max((part.round_trip for part in parts), key=lambda one: one.limit)
        with Asker(plan, namespaces, protocols, REACH_PORT, wrong, slowest) as asker:
            asker.settle(unanswered, MOST_NEIGHBOURS)
        failed += asker.failed
    order = {space.name: number for number, space in enumerate(plan.spaces)}

    def place(question: Question) -> tuple[int, int, int, int]:
        ends = order[question.source.name], order[question.target.name]
        return *ends, question.address.version, PROTOCOLS.index(question.protocol)

    failed.sort(key=lambda item: place(item[0]))
    return Reach(sum(part.asked for part in parts), tuple(failed))


Named = tuple[str, str, Address, Protocol, str]
"""Source and target by name, address, protocol and a reason: less to pickle than a whole question."""


class _Part(NamedTuple):
    """The results of one process."""

    asked: int
    failed: list[Named]
    unanswered: list[Named]
    """With the error that came instead, if any."""
    round_trip: RoundTrip


def _share(
    plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], progress: Progress, number: int, total: int
) -> _Part:
    """Ask every `total`th tile of questions."""
    asked, round_trip = 0, RoundTrip()
    own = list(tiles(plan))[number::total]
    with Asker(plan, namespaces, protocols, REACH_PORT + number, wrong, round_trip) as asker:
        for done, tile in enumerate(own):
            if number == 0:
                progress("asking every pair", done / len(own))
            for batch, learners in batches(plan, asked_in(tile, protocols), MOST_NEIGHBOURS // total):
                asker.ask(batch)
                asked += len(batch)
                forget_learned_in(namespaces[place] for place in learners)
        failed, unanswered = ([_named(*item) for item in items] for items in (asker.failed, asker.open))
    return _Part(asked, failed, unanswered, round_trip)


def _named(question: Question, why: str) -> Named:
    return question.source.name, question.target.name, question.address, question.protocol, why


def _asked(plan: Plan, named: Named) -> tuple[Question, str]:
    """The question, and the reason."""
    source, target, address, protocol, why = named
    own = own_addresses(plan[source])
    return Question(plan[source], plan[target], address, protocol, str(address), own), why


def expected(question: Question) -> frozenset[str]:
    """The source addresses that the target of a pod's question may see."""
    masks = question.source.masked_towards(question.target, question.address.version)
    return frozenset(map(str, masks)) or question.own


def wrong(question: Question, answer: Answer) -> str:
    """What is wrong with the answer; empty if it fits the Kubernetes model."""
    if answer.error:
        return answer.error
    if answer.name != question.target.name:
        return f"{_BY} {answer.name}, expected {question.target.name}"
    if question.protocol == "icmp":
        return ""  # The kernel's reply does not carry the source address that it saw.
    # A node may use the address of its bridge or tunnel; a pod only its own, or its node's if the node masquerades.
    if question.source.kind is Kind.POD and answer.seen not in expected(question):
        return f"{_SEEN} {answer.seen}, expected {' or '.join(sorted(expected(question)))}"
    return ""


def is_by_another(why: str) -> bool:
    """Whether a question failed because another place answered."""
    return why.startswith(_BY)


def is_translated(why: str) -> bool:
    """Whether a question failed because its source address was translated."""
    return why.startswith(_SEEN)
