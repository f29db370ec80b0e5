"""A plugin for pytest: tests that need something of the kernel, and where they ran.

A test marked `needs("vxlan")` is skipped where the kernel lacks that feature. `--outcomes FILE` writes down what came
of each test, and `--elsewhere FILE` holds what another session wrote against this one: a test that both left out for
want of a feature has not been run at all, and that is a failure.
"""

import json
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from testbed.kernel.features import Feature, missing_here, unavailable

LACKS = "not available here: needs "


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("where", "where tests run")
    group.addoption("--outcomes", type=Path, metavar="FILE", help="write down what came of each test, as JSON")
    group.addoption("--whole-matrix", action="store_true", help="every design there is, instead of a covering subset")
    group.addoption("--elsewhere", type=Path, metavar="FILE", help="what another session wrote with --outcomes")


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption("elsewhere")
    try:
        elsewhere = json.loads(file.read_text()) if file else None
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"--elsewhere: {error}") from error
    config.pluginmanager.register(_Session(config.getoption("outcomes"), elsewhere))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what only the whole matrix has."""
    if not config.getoption("whole_matrix"):
        left_out = [item for item in items if item.get_closest_marker("whole_matrix")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m vm`, files that never say so are not even read: importing them all takes minutes in there.

    `tests.designs.looking.marked` says so for its callers.
    """
    is_test = collection_path.suffix == ".py" and config.option.markexpr == "vm"
    return True if is_test and not re.search(r"mark\.vm\b|\bmarked\(", collection_path.read_text()) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = _lacking(tuple(name for marker in item.iter_markers("needs") for name in marker.args))
    if lacking is None:
        pytest.skip("needs root")
    if lacking:
        pytest.skip(unavailable(lacking))


@cache
def _lacking(names: tuple[str, ...]) -> tuple[Feature, ...] | None:
    return missing_here(names) if names else ()


class _Session:
    """What came of each test: `passed`, `failed`, or `skipped: REASON`; here, and in another session."""

    def __init__(self, file: Path | None, elsewhere: dict[str, Any] | None) -> None:
        self.file = file
        self.here: dict[str, str] = {}
        self.kernel_there: str = elsewhere["kernel"] if elsewhere else ""
        self.there: dict[str, str] = elsewhere["tests"] if elsewhere else {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.here[report.nodeid] = "failed"
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.here[report.nodeid] = f"skipped: {reason.removeprefix('Skipped: ')}"
        elif report.when == "call":
            self.here[report.nodeid] = "passed"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.file:
            part = self.file.with_name(f"{self.file.name}.part")
            part.write_text(json.dumps({"kernel": platform.release(), "tests": self.here}, indent=1))
            part.replace(self.file)
        if self.kernel_there and self._run_nowhere() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        """As the last of all summaries, right before pytest's own line."""
        yield
        if not self.kernel_there:
            return
        here, there = (sum(map(_ran, outcomes.values())) for outcomes in (self.here, self.there))
        nowhere = [test for test, outcome in self.here.items() if not _ran(outcome) and not self._ran_there(test)]
        for test in self._run_nowhere():
            terminalreporter.write_line(f"neither here nor in the virtual machine: {test}: {self.here[test]}", red=True)
        terminalreporter.write_line(
            f"ran here (Linux {platform.release()}): {here:,}; "
            f"in the virtual machine (Linux {self.kernel_there}): {there:,}; skipped everywhere: {len(nowhere):,}"
        )

    def _run_nowhere(self) -> list[str]:
        """The tests for which neither kernel had what they need."""
        lacking = [test for test, outcome in self.here.items() if outcome.startswith(f"skipped: {LACKS}")]
        return [test for test in lacking if not self._ran_there(test)]

    def _ran_there(self, test: str) -> bool:
        return _ran(self.there.get(test, "skipped"))


def _ran(outcome: str) -> bool:
    return not outcome.startswith("skipped")
