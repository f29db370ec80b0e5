"""Dependencies between modules: no imports of a package on the same floor or above, and no import cycles.

Imports within functions count too: they defer the cost of an import, but are still dependencies.
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
    {"observe", "probes", "vm"},
    {"experiment", "api_server"},
    {"counting"},
    {"report"},
    {"cli", "api"},
)
"""From the lowest to the highest."""
OUTSIDE = {"__init__", "__main__", "pytest_plugin"}
"""Entry points, and the version."""


def _modules() -> dict[str, Path]:
    found = {}
    for file in sorted((ROOT / "testbed").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = _modules()


def imported(text: str) -> Iterator[str]:
    """The modules of the testbed that a module's text imports, at any place in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "testbed")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports must be absolute"
            module = node.module or ""
            if module.split(".")[0] == "testbed":
                whole = (f"{module}.{alias.name}" for alias in node.names)
                yield from (name if name in MODULES else module for name in whole)


KNOWN = {name: set(imported(file.read_text())) - {name} for name, file in MODULES.items()}
"""By module: the modules that it imports."""


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def cycle(known: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next, and the last the first; empty if there is no cycle."""
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


def test_every_package_has_a_floor() -> None:
    assert {room(module) for module in MODULES} - OUTSIDE <= set().union(*FLOORS)


def test_no_module_imports_a_package_of_the_same_floor_or_above() -> None:
    upward = [
        f"{module} imports {other}"
        for module, others in KNOWN.items()
        for other in others
        if not {room(module), room(other)} & OUTSIDE and room(module) != room(other) and floor(module) <= floor(other)
    ]
    assert upward == []


def test_there_are_no_import_cycles() -> None:
    assert cycle(KNOWN) == []


def test_only_designs_import_presets() -> None:
    presets = "testbed.designs.presets"
    importing = [
        module
        for module, others in KNOWN.items()
        if room(module) != "designs" and any(other.startswith(presets) for other in others)
    ]
    assert importing == []


@pytest.mark.parametrize(
    "text",
    ["import testbed.lab.lab", "from testbed.lab import lab", "def f():\n    from testbed.lab.lab import Lab\n"],
)
def test_imports_are_found_at_any_place(text: str) -> None:
    assert list(imported(text)) == ["testbed.lab.lab"]


def test_a_cycle_is_found() -> None:
    known = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}
    assert cycle(known) == ["b", "c", "d"]
    assert cycle(known | {"d": set()}) == []
