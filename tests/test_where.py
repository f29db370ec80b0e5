"""Sessions of the plugin tests/where.py, with tests that need features which no kernel has."""

import errno
import json
import platform
import sys
from collections.abc import Callable

import pytest

from testbed.kernel.features import FEATURES, Feature
from testbed.kernel.netlink import KernelRefusal
from tests.machine import read_outcomes

pytestmark = pytest.mark.root

TESTS = """
import pytest

@pytest.mark.needs("fly")
def test_flying(): ...

@pytest.mark.needs("fly", "veth", "swim")
def test_both(): ...

@pytest.mark.needs("veth")
def test_wired(): ...

def test_failing():
    assert False

@pytest.mark.skip(reason="not today")
def test_tomorrow(): ...
"""
FLYING = "skipped: not available here: needs CONFIG_FLY (module fly)"


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    def refused(_: int) -> None:
        raise KernelRefusal("fly", errno.EOPNOTSUPP, "")

    for name in ("fly", "swim"):
        monkeypatch.setitem(FEATURES, name, Feature(name, f"CONFIG_{name.upper()}", name, refused))
    pytester.makepyfile(test_it=TESTS)
    return pytester


def run(session: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return session.runpytest_inprocess("-p", "tests.where", *arguments)


def test_a_test_that_needs_a_missing_feature_is_skipped_with_a_reason(session: pytest.Pytester) -> None:
    result = run(session, "-rs")
    result.assert_outcomes(passed=1, failed=1, skipped=3)
    result.stdout.fnmatch_lines(["*: not available here: needs CONFIG_FLY (module fly)"])
    result.stdout.fnmatch_lines(["*: not available here: needs CONFIG_FLY (module fly) and CONFIG_SWIM (module swim)"])


def test_outcomes_are_written(session: pytest.Pytester) -> None:
    run(session, "--outcomes", "outcomes")
    assert read_outcomes(session.path / "outcomes") == (
        platform.release(),
        {
            "test_it.py::test_flying": FLYING,
            "test_it.py::test_both": f"{FLYING} and CONFIG_SWIM (module swim)",
            "test_it.py::test_wired": "passed",
            "test_it.py::test_failing": "failed",
            "test_it.py::test_tomorrow": "skipped: not today",
        },
    )


def test_a_session_that_ends_early_has_written_its_outcomes(session: pytest.Pytester) -> None:
    session.makepyfile(test_it="import os\n\ndef test_one(): ...\n\ndef test_two():\n    os._exit(9)")
    session.runpytest_subprocess("-p", "tests.where", "--outcomes", "outcomes")
    assert read_outcomes(session.path / "outcomes")[1] == {"test_it.py::test_one": "passed"}


@pytest.fixture
def there(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the virtual machine by a program with these outcomes and this exit code."""

    def is_the_machine(outcomes: dict[str, str] | None, code: int = 0) -> None:
        tests = [{"test": test, "outcome": outcome} for test, outcome in (outcomes or {}).items()]
        text = "\n".join(map(json.dumps, [{"kernel": "6.12.0-there"}, *tests]))
        write = f"open(sys.argv[-1], 'w').write({text!r})" if outcomes is not None else "pass"
        program = f"import sys; {write}; print('it', 'booted'); sys.exit({code})"
        monkeypatch.setattr("tests.machine.COMMAND", [sys.executable, "-c", program])

    return is_the_machine


@pytest.mark.parametrize(
    ("flying", "nowhere", "code"),
    [("passed", 1, pytest.ExitCode.OK), (FLYING, 2, pytest.ExitCode.TESTS_FAILED)],
)
def test_a_test_skipped_on_both_kernels_fails_the_session(
    session: pytest.Pytester, there: Callable[..., None], flying: str, nowhere: int, code: pytest.ExitCode
) -> None:
    there({"test_it.py::test_flying": flying, "test_it.py::test_both": "passed"})
    result = run(session, "--vm", "-k", "flying or both or wired or tomorrow")
    assert result.ret == code
    ran_there = 3 - nowhere
    *before, summary, _ = result.outlines
    assert summary == (
        f"ran here (Linux {platform.release()}): 1; "
        f"in the virtual machine (Linux 6.12.0-there): {ran_there}; skipped everywhere: {nowhere}"
    )
    assert "it booted" in before
    left_out = f"not run: test_it.py::test_flying: {FLYING}"
    assert (left_out in before) == (code != pytest.ExitCode.OK)


def test_a_test_without_an_outcome_in_the_virtual_machine_has_not_run_there(
    session: pytest.Pytester, there: Callable[..., None]
) -> None:
    there({})
    assert run(session, "--vm", "-k", "flying").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("outcomes", [{"test_it.py::test_wired": "failed"}, None])
def test_a_failure_in_the_virtual_machine_fails_the_session(
    session: pytest.Pytester, there: Callable[..., None], outcomes: dict[str, str] | None
) -> None:
    there(outcomes, code=1)
    assert run(session, "--vm", "-k", "wired").ret == pytest.ExitCode.TESTS_FAILED


def test_a_virtual_machine_that_ends_early_fails_the_session_and_its_last_output_is_printed(
    session: pytest.Pytester, there: Callable[..., None]
) -> None:
    there({"test_it.py::test_wired": "passed"}, code=124)
    result = run(session, "--vm", "-k", "wired")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["the virtual machine exited with 124:", "it booted"])


def test_without_the_virtual_machine_a_skipped_test_is_not_a_failure(session: pytest.Pytester) -> None:
    result = run(session, "-k", "flying")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("ran here*")


def test_files_without_the_marker_are_not_imported_in_the_virtual_machine(session: pytest.Pytester) -> None:
    session.makepyfile(test_broken="import nothing_like_that")
    session.makepyfile(test_marked="import pytest\n\n@pytest.mark.vm\ndef test_there(): ...")
    run(session, "-m", "vm").assert_outcomes(passed=1)
