"""Test the Kubernetes network model on every pair of pods and nodes, over TCP, UDP and ICMP.

An answer proves three things: packets pass in both directions, the right place answered, and the source address was
not changed (no NAT between pods). The kernel answers ICMP itself, so there only the first is tested.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.asker import NO_ANSWER, Answer, Asker
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
from testbed.observe.share import shared
from testbed.observe.shots import Protocol
from testbed.plan.objects import Kind, Plan
from testbed.spec.types import Address

_WORTH_SHARING = 5000
"""Questions from which on a second process is used."""
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


def check_reach(plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol] = PROTOCOLS) -> Reach:
    """Ask every question of the plan and wait for the answers; two processes share many questions."""
    places = len(plan.of_kind(Kind.POD, Kind.NODE))
    many = places * places * len(protocols) >= _WORTH_SHARING
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES) if many else 1
    parts = shared(partial(_share, plan, namespaces, protocols), processes)
    failed = [
        (Question(plan[source], plan[target], address, protocol, str(address), frozenset()), why)
        for _, failures in parts
        for source, target, address, protocol, why in failures
    ]
    if len(parts) > 1:
        failed = _asked_again(plan, namespaces, protocols, failed)
    order = {space.name: number for number, space in enumerate(plan.spaces)}

    def place(question: Question) -> tuple[int, int, int, int]:
        ends = order[question.source.name], order[question.target.name]
        return *ends, question.address.version, PROTOCOLS.index(question.protocol)

    failed.sort(key=lambda item: place(item[0]))
    return Reach(sum(asked for asked, _ in parts), tuple(failed))


def _asked_again(
    plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], failed: list[tuple[Question, str]]
) -> list[tuple[Question, str]]:
    """The questions that fail again when one process asks them.

    With several processes, one may flush a neighbour entry that a node is resolving for the other, which then gets 'no
    route'. Questions without any answer were already asked several times.
    """
    refused = [(question, why) for question, why in failed if why != NO_ANSWER]
    again = list[tuple[Question, str]]()
    if refused:
        with Asker(plan, namespaces, protocols, REACH_PORT) as asker:
            for batch, places in batches(plan, (question for question, _ in refused), MOST_NEIGHBOURS):
                asked = [question._replace(own=own_addresses(question.source)) for question in batch]
                answers = asker.ask(asked)
                forget_learned_in(namespaces[place] for place in places)
                again += ((q, why) for q, answer in zip(asked, answers, strict=True) if (why := wrong(q, answer)))
    return [(question, why) for question, why in failed if why == NO_ANSWER] + again


Failed = tuple[str, str, Address, Protocol, str]
"""Source and target by name, address, protocol and reason: less to pickle than a whole question."""


def _share(
    plan: Plan, namespaces: Namespaces, protocols: Sequence[Protocol], number: int, total: int
) -> tuple[int, list[Failed]]:
    """Ask every `total`th tile of questions; return how many were asked and which failed."""
    asked, failed = 0, list[Failed]()
    with Asker(plan, namespaces, protocols, REACH_PORT + number) as asker:
        for tile in list(tiles(plan))[number::total]:
            for batch, places in batches(plan, asked_in(tile, protocols), MOST_NEIGHBOURS // total):
                answers = asker.ask(batch)
                forget_learned_in(namespaces[place] for place in places)
                asked += len(batch)
                for question, answer in zip(batch, answers, strict=True):
                    if why := wrong(question, answer):
                        failed.append(
                            (question.source.name, question.target.name, question.address, question.protocol, why)
                        )
    return asked, failed


def expected(question: Question) -> frozenset[str]:
    """The source addresses that the target of a pod's question may see."""
    masks = question.source.masked_towards(question.target, question.address.version)
    return frozenset(map(str, masks)) or question.own


def wrong(question: Question, answer: Answer) -> str:
    """What is wrong with the answer; empty if it fits the Kubernetes model."""
    if answer.error:
        return answer.error
    if answer.name != question.target.name:
        return f"answered by {answer.name}, expected {question.target.name}"
    if question.protocol == "icmp":
        return ""  # The kernel's reply does not carry the source address that it saw.
    # A node may use the address of its bridge or tunnel; a pod only its own, or its node's if the node masquerades.
    if question.source.kind is Kind.POD and answer.seen not in expected(question):
        return f"target saw source address {answer.seen}, expected {' or '.join(sorted(expected(question)))}"
    return ""
