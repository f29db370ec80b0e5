"""Why a packet was lost: counters that rose on its path, and what differs from the plan there, the strongest first.

1. Rules of a packet filter that counted a packet: they dropped or translated it.
2. Counters of the kernel: no route, rp_filter, a full queue.
3. Processes of the design that have ended.
4. Neighbours that do not answer, where the packet was last seen.
5. Differences from the plan on the path, those nearest to the loss first.
6. Rules without a counter that may have dropped it, and are not in the plan.
7. Counters of devices where the packet was last seen, and where it was due next.

Only if nothing of this is found on the path, differences of all other places follow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from testbed.kernel.refusal import Namespaces
from testbed.kernel.state import unanswered
from testbed.observe.inspect import differences, state_for
from testbed.observe.losses import Losses, device_losses, losses
from testbed.observe.rules import Rule, Rules, risen, rules
from testbed.plan.objects import DeviceAddress, Kind, Plan, Space
from testbed.spec.types import Address

MOST = 6
"""Most causes to name."""
Ended = Iterable[tuple[str, str, str]]
"""Processes that have ended: place, description and remedy, see `Lab.ended`."""


@dataclass(frozen=True)
class Counts:
    """The counters of a place at one moment."""

    losses: Losses
    devices: Losses
    rules: Rules


def counts(plan: Plan, namespaces: Namespaces, places: Iterable[str]) -> dict[str, Counts]:
    """The counters of these places, to be compared with those after a packet was sent."""
    return {place: _counts(plan, namespaces, place) for place in places}


def _counts(plan: Plan, namespaces: Namespaces, place: str) -> Counts:
    with namespaces[place].entered():
        return Counts(losses(plan[place]), device_losses(), rules(plan[place]))


def causes(
    plan: Plan,
    namespaces: Namespaces,
    places: Sequence[str],
    before: Mapping[str, Counts] | None = None,
    ended: Ended = (),
) -> tuple[str, ...]:
    """The causes on a path in words, the strongest first; empty if none is found.

    `places` are those on the path and the next ones, the one where the packet was last seen first. `before` are
    counters from before the packet was sent, of those places where they are to be compared.
    """
    known = dict.fromkeys(places)
    silent = list(_silent(plan, namespaces, places[:1]))
    # The owner of an address that does not answer belongs to the path, although no packet came there.
    known |= dict.fromkeys(owner for _, owners in silent for owner in owners)
    found = dict.fromkeys(_on_path(plan, namespaces, list(known), before or {}, ended, [text for text, _ in silent]))
    others = [] if found else [space.name for space in plan.spaces if space.name not in known]
    named = (*found, *(f"elsewhere: {text}" for place in others for text in _differing(plan, namespaces, place)))
    more = len(named) - MOST
    return named if more <= 0 else (*named[:MOST], f"and {more} more: see `testbed inspect`")


def _on_path(
    plan: Plan,
    namespaces: Namespaces,
    places: Sequence[str],
    before: Mapping[str, Counts],
    ended: Ended,
    silent: Sequence[str],
) -> Iterator[str]:
    """The causes at these places, in the order of this file's head; some may come twice."""
    after = counts(plan, namespaces, places)
    pairs = {place: (before[place], after[place]) for place in places if place in before}
    for place, rule in _rules_risen(pairs):
        yield f"{place}: {rule} {rule.effect} the packet"
    for place, (old, new) in pairs.items():
        yield from (f"{place}: {what}" for what in new.losses - old.losses)
    # Without the last lines of its log.
    yield from (f"{place}: {what.splitlines()[0].rstrip(':')}" for place, what, _ in ended)
    yield from silent
    named = frozenset(rule.text for _, rule in _rules_risen(pairs))
    for place in places:
        yield from _differing(plan, namespaces, place, named)
    for place in places:
        for rule in after[place].rules.values():
            if rule.packets is None and not rule.is_planned and rule.effect != "translated":
                yield f"{place}: {rule} may have {rule.effect} the packet"
    for place in (place for place in places[:2] if place in pairs):
        old, new = pairs[place]
        yield from (f"{place}: {what}" for what in new.devices - old.devices)


def translations(plan: Plan, namespaces: Namespaces, before: Mapping[str, Counts]) -> Iterator[str]:
    """The rules that translated a packet since `before`, without those of the plan."""
    after = counts(plan, namespaces, before)
    for place, rule in _rules_risen({place: (before[place], after[place]) for place in before}):
        if rule.effect == "translated" and not rule.is_planned:
            yield f"{place}: {rule} translated the packet"
    for place, there in after.items():
        for rule in there.rules.values():
            if rule.effect == "translated" and rule.packets is None and not rule.is_planned:
                yield f"{place}: {rule} may have translated the packet"


_Pairs = Mapping[str, tuple[Counts, Counts]]
"""By place: the counters before and after."""


def _rules_risen(pairs: _Pairs) -> Iterator[tuple[str, Rule]]:
    for place, (old, new) in pairs.items():
        for rule in risen(old.rules, new.rules):
            if rule.effect != "translated" or not rule.is_planned:
                yield place, rule


def _silent(plan: Plan, namespaces: Namespaces, places: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Neighbours that do not answer, each with the places that have the address."""
    for place in places:
        with namespaces[place].entered():
            found = unanswered()
        for address, device in found:
            yield f"{place}: {device}: neighbour {address} does not answer", list(owners(plan, address))


def owners(plan: Plan, address: Address) -> Iterator[str]:
    """The places that have the address, by the plan."""
    for space in plan.spaces:
        own = (item.interface.ip for item in space.of(DeviceAddress))
        if address in chain(space.reached_at, own):
            yield space.name


def _differing(plan: Plan, namespaces: Namespaces, place: str, named: frozenset[str] = frozenset()) -> Iterator[str]:
    with namespaces[place].entered():
        # Of tables that are not in the plan, the rules are named instead: an empty one drops nothing.
        now = replace(state_for(plan[place]), tables=frozenset())
    for one in differences(plan, plan[place], now):
        if one.what.replace(": unexpected `", ": `") not in named:
            yield f"{place}: {one.what}"


def watched(plan: Plan, ends: Iterable[Space]) -> list[str]:
    """The places whose counters may explain a loss between these ends: both, their nodes, and the fabric."""
    own = {name for end in ends for name in (end.name, end.home)}
    return [space.name for space in plan.spaces if space.kind not in (Kind.POD, Kind.NODE) or space.name in own]
