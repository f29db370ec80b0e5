"""Shared by all tests: fixtures with topologies, and tests that run in a capsule."""

import os
import tempfile
import traceback
from pathlib import Path

import pytest
from hypothesis import settings

from testbed.lab.capsule import enclosed
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

pytest_plugins = ("tests.where", "tests.shared", "pytester")

ROOT = Path(__file__).parent.parent

# No deadline per example, as machines are noisy.
settings.register_profile("testbed", deadline=None)
settings.load_profile("testbed")


@pytest.fixture
def repository() -> Path:
    """The folder with topologies/ and scenarios/."""
    return ROOT


@pytest.fixture(scope="session")
def two_nodes() -> Topology:
    return load_topology(ROOT / "topologies/two-nodes.yaml").value


@pytest.fixture(scope="session")
def dual_stack() -> Topology:
    return load_topology(ROOT / "topologies/dual-stack.yaml").value


@pytest.fixture(scope="session")
def shaped() -> Topology:
    return load_topology(ROOT / "topologies/shaped.yaml").value


def pytest_runtest_setup(item: pytest.Item) -> None:
    if any(map(item.get_closest_marker, ("root", "sealed", "looks"))) and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked `sealed` in a capsule; an exception there fails the test, with the traceback as text."""
    if pyfuncitem.get_closest_marker("sealed") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    with tempfile.NamedTemporaryFile("r") as news:

        def body() -> int:
            try:
                pyfuncitem.obj(**arguments)
            except BaseException:  # noqa: BLE001 - reported to pytest
                Path(news.name).write_text(traceback.format_exc())
                return 1
            return 0

        code = enclosed(body)
        if code != 0:
            pytest.fail(news.read() or f"the capsule ended with exit code {code}", pytrace=False)
    return True
