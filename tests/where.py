"""A plugin for pytest: tests that need kernel features, here and in the virtual machine.

A test marked `needs("vxlan")` is skipped if the kernel lacks that feature. `--outcomes FILE` writes the outcome of each
test, one per line. `--vm` runs the tests marked `vm` in the virtual machine, in parallel to this session, and compares
the outcomes: the session fails if a test was skipped in both because of a missing feature.
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
from tests.machine import Machine, await_end

LACKS = "not available here: needs "


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("where", "where tests run")
    group.addoption("--outcomes", type=Path, metavar="FILE", help="write the outcome of each test as JSON lines")
    group.addoption("--whole-matrix", action="store_true", help="test every design instead of a covering subset")
    group.addoption("--vm", action="store_true", help="run the tests marked vm in the virtual machine in parallel")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # Workers report to the controller, which collects the outcomes.
    machine = Machine() if config.getoption("vm") and not config.option.collectonly else None
    config.pluginmanager.register(_Session(config.getoption("outcomes"), machine), "where-session")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the virtual machine's lock to the workers of pytest-xdist."""
    session = node.config.pluginmanager.get_plugin("where-session")
    node.workerinput["machine_lock"] = str(session.machine.lock) if session.machine else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that run only with `--whole-matrix` or `--vm`."""
    needed = {"whole_matrix": "whole_matrix", "counts": "vm"}
    absent = [marker for marker, option in needed.items() if not config.getoption(option)]
    if absent:
        left_out = [item for item in items if any(map(item.get_closest_marker, absent))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m vm`, files without that marker are not imported: in the virtual machine importing all takes minutes.

    `tests.designs.looking.marked` sets the marker for its callers.
    """
    is_test = collection_path.suffix == ".py" and config.option.markexpr == "vm"
    return True if is_test and not re.search(r"mark\.vm\b|\bmarked\(", collection_path.read_text()) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = _lacking(tuple(name for marker in item.iter_markers("needs") for name in marker.args))
    if lacking is None:
        pytest.skip("needs root")
    if lacking:
        pytest.skip(unavailable(lacking))
    if item.get_closest_marker("exclusive"):
        _await_machine(item.config)


def _await_machine(config: pytest.Config) -> None:
    """Wait for the end of the virtual machine, if this session has one."""
    if hasattr(config, "workerinput"):
        lock = str(config.workerinput["machine_lock"])
    else:
        machine = config.pluginmanager.get_plugin("where-session").machine
        lock = str(machine.lock) if machine else ""
    if lock:
        await_end(lock)


@cache
def _lacking(names: tuple[str, ...]) -> tuple[Feature, ...] | None:
    return missing_here(names) if names else ()


class _Session:
    """The outcome of each test, here and in the virtual machine: `passed`, `failed`, or `skipped: REASON`."""

    def __init__(self, file: Path | None, machine: Machine | None) -> None:
        self.file = file
        self.machine = machine
        self.here: dict[str, str] = {}
        self.code_there: int | None = None
        """None until it has ended."""
        self.kernel_there = ""
        self.there: dict[str, str] = {}

    def pytest_sessionstart(self) -> None:
        if self.file:
            self.file.write_text(json.dumps({"kernel": platform.release()}) + "\n")
        if self.machine:
            self.machine.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._note(report.nodeid, "failed")
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._note(report.nodeid, f"skipped: {reason.removeprefix('Skipped: ')}")
        elif report.when == "call":
            self._note(report.nodeid, "passed")

    def _note(self, test: str, outcome: str) -> None:
        """Write the outcome at once, as a session may end early."""
        self.here[test] = outcome
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps({"test": test, "outcome": outcome}) + "\n")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.machine:
            return
        if session.exitstatus == pytest.ExitCode.INTERRUPTED or session.shouldfail:
            self.machine.stop()
            return
        try:
            code = self._waited_for(self.machine, session.config)
        except KeyboardInterrupt:
            self.machine.stop()
            session.exitstatus = pytest.ExitCode.INTERRUPTED
            return
        self.code_there = code
        self.kernel_there, self.there = self.machine.outcomes
        if (code or self._run_nowhere()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @staticmethod
    def _waited_for(machine: Machine, config: pytest.Config) -> int:
        if machine.is_running and (reporter := config.pluginmanager.get_plugin("terminalreporter")):
            reporter.write_line("\nwaiting for the virtual machine")
        return machine.wait()

    def pytest_unconfigure(self) -> None:
        if self.machine:
            self.machine.close()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        """Print the summary last, right before pytest's own line."""
        yield
        if not self.machine or self.code_there is None:
            return
        terminalreporter.section("in the virtual machine")
        terminalreporter.write(self.machine.said)
        here, there = (sum(map(_ran, outcomes.values())) for outcomes in (self.here, self.there))
        nowhere = [test for test, outcome in self.here.items() if not _ran(outcome) and not self._ran_there(test)]
        terminalreporter.section("here and in the virtual machine")
        for test in self._run_nowhere():
            terminalreporter.write_line(f"not run: {test}: {self.here[test]}", red=True)
        if self.code_there not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            last = "\n".join(self.machine.said.splitlines()[-3:])
            terminalreporter.write_line(f"the virtual machine exited with {self.code_there}:\n{last}", red=True)
        terminalreporter.write_line(
            f"ran here (Linux {platform.release()}): {here:,}; "
            f"in the virtual machine (Linux {self.kernel_there}): {there:,}; skipped everywhere: {len(nowhere):,}"
        )

    def _run_nowhere(self) -> list[str]:
        """The tests that need a feature which both kernels lack."""
        lacking = [test for test, outcome in self.here.items() if outcome.startswith(f"skipped: {LACKS}")]
        return [test for test in lacking if not self._ran_there(test)]

    def _ran_there(self, test: str) -> bool:
        return _ran(self.there.get(test, "skipped"))


def _ran(outcome: str) -> bool:
    return not outcome.startswith("skipped")
