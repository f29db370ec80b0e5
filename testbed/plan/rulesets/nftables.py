"""Tables of nftables, in libnftables' JSON (libnftables-json(5)), which `nft -j -f -` reads as one transaction.

Only the testbed's own tables are changed. Rules, set kinds and elements are kept as canonical JSON, so that equal trees
are equal texts. They must be written as nft lists them: numbers for priorities and ports, `{"counter":null}` without
values.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain as joined
from typing import Any

from testbed.plan.rulesets.merge import Key, Whole, WholeChain, WholeSet
from testbed.plan.rulesets.parts import Hook, Set

_FILLED_BY_RULES = ("timeout", "dynamic")
"""Flags of sets whose elements packets add; these elements are not compared with a plan."""


def canonical(tree: Any) -> str:
    """A tree as canonical JSON."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def rule(*expressions: Any, comment: str = "") -> str:
    """A rule with these matches and statements, each a tree in the format of libnftables."""
    return canonical({"expr": expressions} | ({"comment": comment} if comment else {}))


def set_of(
    name: str,
    table: str,
    type: str | list[str],
    elements: Iterable[Any] = (),
    *,
    to: str | list[str] | None = None,
    flags: Iterable[str] = (),
    timeout_s: int = 0,
) -> Set:
    """A set; or with `to` (a type or `verdict`) a map, whose elements are pairs."""
    kind: dict[str, Any] = {"type": type}
    if to:
        kind["map"] = to
    if flags := list(flags):
        kind["flags"] = flags
    if timeout_s:
        kind["timeout"] = timeout_s
    return Set(name, canonical(kind), tuple(map(canonical, elements)), table)


def listed(text: str) -> Whole:
    """Parse the output of `nft -j list table`."""
    chains: dict[Key, tuple[Hook | None, str, list[str]]] = {}
    sets: dict[Key, WholeSet] = {}
    for item in json.loads(text)["nftables"] if text else ():
        ((what, tree),) = item.items()
        table = f"{tree.get('family')} {tree.get('table')}"
        if what == "chain":
            chains[table, tree["name"]] = (_hook(tree), tree.get("policy", ""), [])
        elif what == "rule":
            tree = {"expr": _without_counts(tree["expr"])} | ({"comment": tree["comment"]} if "comment" in tree else {})
            chains[table, item["rule"]["chain"]][2].append(canonical(tree))
        elif what in ("set", "map"):
            kind = {key: value for key, value in tree.items() if key in ("type", "map", "flags", "timeout")}
            elements = tuple(canonical(_without_counts(element)) for element in tree.get("elem", ()))
            sets[table, tree["name"]] = WholeSet(canonical(kind), elements)
    return Whole(
        "nftables",
        {key: WholeChain(tuple(rules), hook, policy) for key, (hook, policy, rules) in chains.items()},
        sets,
    )


def text(whole: Whole) -> str:
    """The text that creates all tables, or replaces those of the same name."""
    return _transaction(joined.from_iterable(_table(whole, table) for table in whole.tables))


def difference(old: Whole, new: Whole) -> str:
    """The changed set elements, and all rules of changed chains. Empty if nothing differs.

    A table is replaced as a whole if the kind of a set or the hook of a chain changes.
    """
    commands: list[str] = []
    for table in dict.fromkeys((*old.tables, *new.tables)):
        if table not in new.tables:
            commands.append(_command("delete", "table", table))
        elif table not in old.tables or _is_other(old, new, table):
            commands += _table(new, table)
        else:
            commands += _changes(old, new, table)
    return _transaction(commands) if commands else ""


def lines(whole: Whole) -> Iterator[tuple[str, str]]:
    """Every chain, set, element and rule, each with its owner; without elements that packets add."""
    for (table, name), one in sorted(whole.sets.items()):
        yield f"set {table} {name} {one.kind}", one.owner
        if not _is_filled_by_rules(one):
            yield from ((f"element {table} {name} {element}", one.owner) for element in sorted(one.members))
    for (table, name), chain in sorted(whole.chains.items()):
        owners = chain.owners or ("",) * len(chain.rules)
        yield f"chain {table} {name} {_props(chain)}", owners[0] if owners else ""
        yield from ((f"rule {table} {name} {rule}", owner) for rule, owner in zip(chain.rules, owners, strict=True))


def _hook(tree: Mapping[str, Any]) -> Hook | None:
    return Hook(tree["type"], tree["hook"], tree["prio"], tree.get("dev", "")) if "hook" in tree else None


def _props(chain: WholeChain) -> str:
    """A chain's hook and policy as JSON."""
    hook = chain.hook
    if hook is None:
        return "{}"
    props: dict[str, Any] = {"type": hook.type, "hook": hook.name, "prio": hook.priority}
    return canonical(props | {"policy": chain.policy or "accept"} | ({"dev": hook.dev} if hook.dev else {}))


def _without_counts(tree: Any) -> Any:
    """The tree without counter values, which packets change."""
    if isinstance(tree, list):
        return [_without_counts(one) for one in tree]
    if isinstance(tree, dict):
        return {
            key: None if key == "counter" and isinstance(value, dict) else _without_counts(value)
            for key, value in tree.items()
        }
    return tree


def _is_filled_by_rules(one: WholeSet) -> bool:
    return any(f'"{flag}"' in one.kind for flag in _FILLED_BY_RULES)


def _transaction(commands: Iterable[str]) -> str:
    return '{"nftables":[\n' + ",\n".join(commands) + "\n]}\n"


def _command(verb: str, what: str, table: str, *further: str) -> str:
    """A command for a table or an object in it; `further` are members of its tree, as JSON."""
    family, name = table.split(" ")
    members = [f'"family":"{family}"', f'"{"name" if what == "table" else "table"}":{json.dumps(name)}', *further]
    return f'{{"{verb}":{{"{what}":{{{",".join(members)}}}}}}}'


def _named(verb: str, what: str, key: Key, props: str = "{}") -> str:
    table, name = key
    return _command(verb, what, table, f'"name":{json.dumps(name)}', *([props[1:-1]] if props != "{}" else ()))


def _kind(one: WholeSet) -> str:
    return "map" if '"map":' in one.kind else "set"


def _table(whole: Whole, table: str) -> Iterator[str]:
    """Create the table; it is first added and deleted, so that an existing one is replaced."""
    yield _command("add", "table", table)
    yield _command("delete", "table", table)
    yield _command("add", "table", table)
    yield from _changes(Whole("nftables"), whole, table)


def _is_other(old: Whole, new: Whole, table: str) -> bool:
    chains, sets = old.chains_of(table), old.sets_of(table)
    return any(
        name in chains and chains[name].hook != chain.hook for name, chain in new.chains_of(table).items()
    ) or any(name in sets and sets[name].kind != one.kind for name, one in new.sets_of(table).items())


def _changes(old: Whole, new: Whole, table: str) -> Iterator[str]:
    """Chains and sets are created before something refers to them, and deleted after the last reference."""
    chains_before, chains = old.chains_of(table), new.chains_of(table)
    sets_before, sets = old.sets_of(table), new.sets_of(table)
    for name, chain in chains.items():
        there = chains_before.get(name)
        if there is None or _props(there) != _props(chain):
            yield _named("add", "chain", (table, name), _props(chain))
    for name, one in sets.items():
        if name not in sets_before:
            yield _named("add", _kind(one), (table, name), one.kind)
    for name, one in sets.items():
        yield from _elements((table, name), sets_before.get(name, WholeSet(one.kind)).members, one.members)
    gone_chains = [name for name in chains_before if name not in chains]
    gone_sets = [name for name in sets_before if name not in sets]
    differing = [
        name for name, chain in chains.items() if name in chains_before and chains_before[name].rules != chain.rules
    ]
    yield from (_named("flush", "chain", (table, name)) for name in (*differing, *gone_chains))
    fresh = [name for name in chains if name not in chains_before]
    for name in (*fresh, *differing):
        at = f'"chain":{json.dumps(name)}'
        yield from (_command("add", "rule", table, at, rule[1:-1]) for rule in chains[name].rules)
    # Verdicts in deleted maps may refer to deleted chains.
    yield from (_named("delete", _kind(sets_before[name]), (table, name)) for name in gone_sets)
    yield from (_named("delete", "chain", (table, name)) for name in gone_chains)


def _elements(key: Key, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    for verb, elements in (
        ("delete", [each for each in before if each not in after]),
        ("add", [each for each in after if each not in before]),
    ):
        if elements:
            yield _named(verb, "element", key, f'{{"elem":[{",".join(elements)}]}}')
