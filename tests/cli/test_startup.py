"""The modules that a verb loads: only those that it needs, as loading takes time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.verbs import VERBS

HEAVY = ("pydantic", "yaml", "rich", "jinja2", "numpy", "scipy", "matplotlib", "mininet", "pyroute2", "dpkt", "nacl")
"""Libraries that take long to load, a hundredth of a second or more."""
NEVER = ("setuptools", "distutils")
NAME = f"test-startup-{os.getpid()}"
READING = {"pydantic", "yaml"}
"""For files that users write."""


def loaded(*words: str, cwd: Path) -> tuple[set[str], set[str]]:
    """The heavy libraries that a verb loads, and the testbed's own modules."""
    command = [sys.executable, "-X", "importtime", "-m", "testbed", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, done.stderr
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    libraries = {module.partition(".")[0] for module in modules}
    return libraries & {*HEAVY, *NEVER}, {module for module in modules if module.startswith("testbed.")}


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_loads_only_the_command_line_library(words: list[str], repository: Path) -> None:
    libraries, own = loaded(*words, cwd=repository)
    assert libraries == set()
    packages = {module.split(".")[1] for module in own}
    assert packages <= {"__main__", "cli", "kernel", "lab", "observe", "plan", "spec"}
    assert not own & {"testbed.spec.types", "testbed.plan.objects", "testbed.lab.lab", "testbed.kernel.netlink"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("list", {"rich"}),
        ("validate topologies/two-nodes.yaml", READING),
        ("plan topologies/two-nodes.yaml --design vxlan", READING),
        ("designs", READING | {"rich"}),
        ("designs flannel-vxlan", READING),
        ("probes", READING | {"rich", "numpy", "mininet"}),
        ("schema topology", READING),
        ("import tests/spec/foreign/dual.kind.yaml", READING),
        ("doctor", READING),
        ("graph topologies/two-nodes.yaml --design vxlan", READING),
        ("results list results", {"numpy"}),
        ("run scenarios/quick.yaml --dry-run", READING | {"numpy", "mininet", "rich"}),
    ],
)
def test_a_verb_loads_what_it_needs(words: str, needed: set[str], repository: Path) -> None:
    libraries, _ = loaded(*words.split(), cwd=repository)
    assert libraries <= needed


@pytest.mark.root
def test_up_and_exec_load_only_what_they_need(repository: Path) -> None:
    up = ["up", "topologies/two-nodes.yaml", "--design", "vxlan", "--name", NAME]
    try:
        libraries, own = loaded(*up, cwd=repository)
        assert libraries == READING | {"mininet"}
        assert {module for module in own if ".presets." in module} == {"testbed.designs.presets.plain"}
        libraries, own = loaded("exec", "--lab", NAME, "client", "--", "true", cwd=repository)
        assert libraries == set()
        assert "testbed.cli.verbs" not in own
    finally:
        loaded("down", NAME, cwd=repository)


def test_presets_have_the_names_in_their_table() -> None:
    """Presets are loaded on demand, so no other test reads the whole table."""
    from testbed.designs import DESIGNS

    assert [design.name for design in DESIGNS.values()] == list(DESIGNS)
    assert len(DESIGNS) == len(set(DESIGNS))
    assert "no-such-design" not in DESIGNS
