"""Labs that are shared by the tests of one file, each brought up once.

A test marked `looks` does not change its labs: it reads the kernel's state and sends packets, without effects that
another test could notice. All such tests of a file run in one process, in a capsule that ends with the file's last
test.
"""

import os
import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from testbed.kernel.syscalls import die_with_parent
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.plan.objects import Plan

_labs: list[tuple[Plan, Lab]] = []
"""The labs of the shared process, with their plans."""


@contextmanager
def shared(plan: Plan) -> Iterator[Lab]:
    """A lab of that plan, which stays up for later tests."""
    lab = next((lab for planned, lab in _labs if planned == plan), None)
    if lab is None:
        lab = Lab(plan)
        _labs.append((plan, lab))
    yield lab


class SharedCapsule:
    """A process in a capsule that runs the bodies of tests."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._connection, there = Pipe()
        tests = {item.nodeid: item for item in items if isinstance(item, pytest.Function)}
        self._process = os.fork()
        if self._process == 0:
            code = 1
            try:
                self._connection.close()
                os.setsid()  # Only pytest handles Ctrl-C.
                die_with_parent(signal.SIGKILL)
                code = enclosed(lambda: _serve(there, tests))
            except BaseException:  # noqa: BLE001 - the outermost frame of the process
                traceback.print_exc()
            finally:
                os._exit(code)
        there.close()

    def run(self, test: str, arguments: Mapping[str, Any]) -> str:
        """Run the body of a test; returns the traceback of its exception, or an empty string. Arguments are pickled."""
        try:
            self._connection.send((test, dict(arguments)))
            return str(self._connection.recv())
        except (EOFError, OSError):
            return "the shared capsule of this file has ended, in this test or an earlier one"

    def close(self) -> None:
        """Kill the process with all its labs."""
        self._connection.close()
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


@pytest.fixture(scope="module")
def shared_capsule(request: pytest.FixtureRequest) -> Iterator[SharedCapsule]:
    """The capsule for the tests of a file that are marked `looks`."""
    capsule = SharedCapsule(request.session.items)
    yield capsule
    capsule.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked `looks` in the shared capsule; an exception there fails the test, with its traceback."""
    if pyfuncitem.get_closest_marker("looks") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    capsule: SharedCapsule = pyfuncitem._request.getfixturevalue("shared_capsule")
    if failure := capsule.run(pyfuncitem.nodeid, arguments):
        pytest.fail(failure, pytrace=False)
    return True


def _serve(connection: Connection, tests: Mapping[str, pytest.Function]) -> int:
    while True:
        try:
            test, arguments = connection.recv()
        except EOFError:
            return 0
        try:
            tests[test].obj(**arguments)
            connection.send("")
        except BaseException:  # noqa: BLE001 - reported to pytest
            connection.send(traceback.format_exc())
