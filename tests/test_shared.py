"""Sessions of the plugin tests/shared.py: labs shared by tests."""

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.root

TESTS = """
import os
from pathlib import Path
import pytest
from testbed.designs import DESIGNS
from testbed.spec.load import load_topology
from tests.shared import shared

pytestmark = pytest.mark.looks
PLAN = DESIGNS["l2"].plan(load_topology(Path({topology!r})).value)
NOTES = Path({notes!r})

@pytest.mark.parametrize("number", range(3))
def test_looking(number):
    with shared(PLAN) as lab:
        with NOTES.open("a") as notes:
            notes.write(f"{{os.getpid()}} {{lab.hosts['node1'].pid}}\\n")
        assert lab.run("client", ["ping", "-c", "1", "-W", "2", "10.244.1.2"]).returncode == 0

def test_failing():
    assert "this" == "that"

{more}
"""


def run(pytester: pytest.Pytester, more: str = "") -> pytest.RunResult:
    values = {"topology": str(ROOT / "topologies/two-nodes.yaml"), "notes": str(pytester.path / "notes"), "more": more}
    pytester.makepyfile(test_it=TESTS.format(**values))
    pytester.makeini("[pytest]\nmarkers = looks: shares a capsule")
    return pytester.runpytest_subprocess("-p", "tests.shared")


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_lab_is_brought_up_once_and_a_failure_fails_only_its_test(pytester: pytest.Pytester) -> None:
    result = run(pytester)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: assert 'this' == 'that'*"])
    notes = (pytester.path / "notes").read_text().splitlines()
    assert len(notes) == 3
    assert len(set(notes)) == 1


def test_every_test_after_the_end_of_the_capsule_reports_it(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_ending():\n    os._exit(3)\n\ndef test_last(): ...")
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines(["the shared capsule of this file has ended*"] * 2)
