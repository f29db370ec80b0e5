"""Attribute to CNI plugins what changed between just before and just after their calls, and nothing else.

A place has three states: the `known` one, of which the plan has been completed, and those `before` and `after` the
calls. Where `before` differs from `known`, somebody else has changed the place; that stays a difference from the plan.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import SequenceMatcher
from typing import Any, TypeVar

from testbed.kernel.state import DeviceState, State
from testbed.plan.objects import Other, Route
from testbed.plan.rulesets import Backend
from testbed.plan.rulesets.merge import Whole, WholeChain

T = TypeVar("T")


def adopted(known: State, before: State, after: State) -> State:
    """The known state with the changes from `before` to `after`."""
    found = {
        part.name: _changed(*(getattr(state, part.name) for state in (known, before, after))) for part in fields(State)
    }
    gone = {name for name, device in before.devices.items() if _is_gone(device, after.devices.get(name))}
    found |= {
        "devices": _devices(known.devices, before.devices, after.devices),
        "objects": {
            kind: _changed(_without(known.of(kind), gone), before.of(kind), after.of(kind)) for kind in after.objects
        },
        "others": _changed(_others(known, gone), _others(before, gone), after.others),
        "rulesets": _rulesets(known.rulesets, before.rulesets, after.rulesets),
    }
    return State(**found)


def without(known: State, devices: Collection[str]) -> State:
    """The state without these devices and what is on them."""
    return replace(
        known,
        devices={name: device for name, device in known.devices.items() if name not in devices},
        objects={kind: _without(items, devices) for kind, items in known.objects.items()},
        others=_others(known, devices),
    )


def lacking(known: State, routes: Iterable[Route]) -> State:
    """The state without these routes."""
    return replace(known, objects={**known.objects, Route: known.of(Route) - set(routes)})


def _changed(known: Any, before: Any, after: Any) -> Any:
    """A value with the changes from `before` to `after`; sets and sequences by member, mappings by key."""
    match known:
        case frozenset():
            return (known - (before - after)) | (after - before)
        case tuple():
            staying = (item for item in known if item not in before or item in after)
            return (*staying, *(item for item in after if item not in before and item not in known))
        case dict():
            removed = before.keys() - after.keys()
            kept = {key: value for key, value in known.items() if key not in removed}
            return kept | {key: value for key, value in after.items() if key not in before or before[key] != value}
    return known if before == after else after


def _is_gone(device: DeviceState, then: DeviceState | None) -> bool:
    return then is None or then.index != device.index


def _without(items: frozenset[T], devices: Collection[str]) -> frozenset[T]:
    """The objects that are not on these devices."""
    return frozenset(item for item in items if getattr(item, "dev", None) not in devices) if devices else items


def _others(state: State, devices: Collection[str]) -> tuple[Other, ...]:
    """Those that are not on these devices."""
    return tuple(item for item in state.others if item.dev not in devices)


def _devices(
    known: Mapping[str, DeviceState], before: Mapping[str, DeviceState], after: Mapping[str, DeviceState]
) -> dict[str, DeviceState]:
    """The devices; of one that was there before and after, each attribute that has changed."""
    found = {name: device for name, device in known.items() if name not in before or name in after}
    for name, device in after.items():
        earlier, old = before.get(name), known.get(name)
        if earlier is None or _is_gone(earlier, device):
            found[name] = device
        elif old is not None:
            changes = {part.name: getattr(device, part.name) for part in fields(DeviceState)}
            found[name] = replace(old, **{key: v for key, v in changes.items() if getattr(earlier, key) != v})
    return found


def _rulesets(
    known: Mapping[Backend, Whole], before: Mapping[Backend, Whole], after: Mapping[Backend, Whole]
) -> dict[Backend, Whole]:
    found = {}
    for backend in dict.fromkeys((*known, *before, *after)):
        ours, old, new = (state.get(backend, Whole(backend)) for state in (known, before, after))
        chains = {
            key: _chain(ours.chains.get(key), old.chains.get(key), new.chains.get(key))
            for key in dict.fromkeys((*ours.chains, *new.chains))
        }
        sets = _changed(dict(ours.sets), old.sets, new.sets)
        found[backend] = Whole(backend, {key: chain for key, chain in chains.items() if chain is not None}, sets)
    return found


def _chain(known: WholeChain | None, before: WholeChain | None, after: WholeChain | None) -> WholeChain | None:
    if before == after:
        return known
    if before is None or after is None:
        return after
    rules = _rules(known.rules if known else (), before.rules, after.rules)
    if known is None:
        return replace(after, rules=rules)
    return replace(known, rules=rules, policy=known.policy if before.policy == after.policy else after.policy)


def _rules(known: Sequence[str], before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """The rules with those removed that are only in `before`, and those added that are only in `after`.

    An added rule follows the nearest one that precedes it in `after`. A rule that somebody else had removed, and that
    was added again, is already there.
    """
    found, missing = list(known), Counter(known) - Counter(before)
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for operation, start, end, _, _ in changes:
        for rule in before[start:end] if operation != "equal" else ():
            if rule in found:
                found.remove(rule)
    for operation, _, _, start, end in changes:
        for place in range(start, end) if operation != "equal" else ():
            rule = after[place]
            if missing[rule]:
                missing[rule] -= 1
                continue
            anchor = next((each for each in reversed(after[:place]) if each in found), None)
            found.insert(0 if anchor is None else found.index(anchor) + 1, rule)
    return tuple(found)
