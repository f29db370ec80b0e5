"""Sets of ipset(8), as `ipset save` writes them and `ipset -exist restore` reads them.

Each line takes effect separately. With `-exist`, entries that exist already or no longer are ignored, so a text can be
loaded twice.
"""

import re
from collections.abc import Iterable, Iterator

from testbed.plan.rulesets.merge import Whole, WholeSet

NEXT = "testbed-next"
"""Temporary name of a set that replaces another one."""
_CHOICES = re.compile(r" (?:bucketsize|initval) \w+")
"""Properties that newer kernels and tools choose."""


class SetChangesType(ValueError):
    """The type of a set cannot change while rules refer to it."""


def listed(text: str) -> Whole:
    """Parse the output of `ipset save`."""
    kinds: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for line in text.splitlines():
        verb, name, rest = line.split(" ", 2)
        if verb == "create":
            kinds[name] = _CHOICES.sub("", rest)
        else:
            members.setdefault(name, []).append(rest)
    return Whole(
        "ipset", sets={("", name): WholeSet(kind, tuple(members.get(name, ()))) for name, kind in kinds.items()}
    )


def without_choices(line: str) -> str:
    """A line without the properties that kernels and tools choose."""
    return _CHOICES.sub("", line)


def text(whole: Whole) -> str:
    """The text that creates all sets."""
    return difference(Whole("ipset"), whole)


def difference(old: Whole, new: Whole) -> str:
    """The text that adds and changes sets and members. A set with changed properties is created and swapped in.

    Raises SetChangesType.
    """
    return "".join(f"{line}\n" for line in _changes(old, new))


def removal(old: Whole, new: Whole) -> str:
    """The text that removes sets; to load after the rules that refer to them are removed."""
    gone = [(name, old.sets["", name].kind) for _, name in old.sets if ("", name) not in new.sets]
    return "".join(f"destroy {name}\n" for name, _ in sorted(gone, key=lambda one: not _is_list(one[1])))


def lines(whole: Whole) -> Iterator[tuple[str, str]]:
    """Every set and member in the syntax of ipset, each with its owner; sorted."""
    found = []
    for (_, name), one in whole.sets.items():
        found.append((f"create {name} {one.kind}", one.owner))
        found += ((f"add {name} {member}", one.owner) for member in one.members)
    return iter(sorted(found))


def _is_list(kind: str) -> bool:
    """Whether its members are sets."""
    return kind.startswith("list:")


def _changes(old: Whole, new: Whole) -> Iterator[str]:
    # Lists come after their members.
    for (_, name), one in sorted(new.sets.items(), key=lambda item: _is_list(item[1].kind)):
        before = old.sets.get(("", name))
        if before is None:
            yield f"create {name} {one.kind}"
            yield from _added(name, one.members)
        elif before.kind == one.kind:
            yield from _members(name, before.members, one.members)
        elif before.kind.split()[0] != one.kind.split()[0]:
            raise SetChangesType(
                f"ipset: set {name}: cannot change the type from {before.kind.split()[0]} to {one.kind.split()[0]} "
                "while rules refer to it; use another name for the new set"
            )
        else:
            yield f"create {NEXT} {one.kind}"
            yield from _added(NEXT, one.members)
            yield f"swap {name} {NEXT}"
            yield f"destroy {NEXT}"


def _members(name: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    before, after = ({member.partition(" ")[0]: member for member in members} for members in (old, new))
    yield from (f"del {name} {key}" for key in before if key not in after)
    yield from _added(name, (member for key, member in after.items() if before.get(key) != member))


def _added(name: str, members: Iterable[str]) -> Iterator[str]:
    return (f"add {name} {member}" for member in members)
