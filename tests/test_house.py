"""Which module knows which: never one of a room on the same floor or above, and none that knows it in turn.

Imports within functions count like all others: they put off what a module costs, not what it knows.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    {"spec", "programs", "bpf"},
    {"cni", "kubernetes"},
    {"plan"},
    {"kernel", "designs", "services", "policies", "dns", "edge"},
    {"lab"},
    {"observe", "probes"},
    {"experiment", "api_server"},
    {"report"},
    {"cli", "api"},
)
"""From the ground."""
OUTSIDE = {"__init__", "__main__", "pytest_plugin"}
"""The ways in: whoever uses the testbed, and its version."""


def _modules() -> dict[str, Path]:
    found = {}
    for file in sorted((ROOT / "testbed").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = _modules()


def imported(text: str) -> Iterator[str]:
    """The modules of the testbed that a module's text imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "testbed")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import says the whole name of a module"
            module = node.module or ""
            if module.split(".")[0] == "testbed":
                whole = (f"{module}.{alias.name}" for alias in node.names)
                yield from (name if name in MODULES else module for name in whole)


KNOWN = {name: set(imported(file.read_text())) - {name} for name, file in MODULES.items()}
"""By module those that it imports."""


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def circle(known: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next one, and the last the first; empty if there is none."""
    done: set[str] = set()
    way: list[str] = []

    def walk(module: str) -> list[str]:
        if module in way:
            return way[way.index(module) :]
        if module not in done:
            way.append(module)
            for other in sorted(known.get(module, ())):
                if found := walk(other):
                    return found
            done.add(way.pop())
        return []

    return next((found for module in known if (found := walk(module))), [])


def test_every_room_has_its_floor() -> None:
    assert {room(module) for module in MODULES} - OUTSIDE <= set().union(*FLOORS)


def test_no_module_knows_a_room_beside_or_above_its_own() -> None:
    upward = [
        f"{module} imports {other}"
        for module, others in KNOWN.items()
        for other in others
        if not {room(module), room(other)} & OUTSIDE and room(module) != room(other) and floor(module) <= floor(other)
    ]
    assert upward == []


def test_no_module_is_known_by_one_that_it_knows() -> None:
    assert circle(KNOWN) == []


def test_nobody_but_the_designs_knows_a_preset() -> None:
    presets = "testbed.designs.presets"
    knowing = [
        module
        for module, others in KNOWN.items()
        if room(module) != "designs" and any(other.startswith(presets) for other in others)
    ]
    assert knowing == []


@pytest.mark.parametrize(
    "text",
    ["import testbed.lab.lab", "from testbed.lab import lab", "def f():\n    from testbed.lab.lab import Lab\n"],
)
def test_imports_are_found_wherever_they_are(text: str) -> None:
    assert list(imported(text)) == ["testbed.lab.lab"]


def test_a_circle_is_found() -> None:
    known = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}
    assert circle(known) == ["b", "c", "d"]
    assert circle(known | {"d": set()}) == []
