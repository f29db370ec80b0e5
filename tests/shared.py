"""Labs that tests of one file look at together, each brought up once.

A test marked `looks` leaves the labs that it sees as they are: it reads what the kernel has, sends packets, and changes
nothing that another test could notice. The bodies of all such tests of a file run in one process, in a capsule that
ends with the file's last test.
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
"""Of the process that tests of one file share: as planned, and as it is."""


@contextmanager
def shared(plan: Plan) -> Iterator[Lab]:
    """A lab of that plan, which stays up for the tests after this one."""
    lab = next((lab for planned, lab in _labs if planned == plan), None)
    if lab is None:
        lab = Lab(plan)
        _labs.append((plan, lab))
    yield lab


class SharedCapsule:
    """A process in a capsule, in which the bodies of tests run."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._connection, there = Pipe()
        tests = {item.nodeid: item for item in items if isinstance(item, pytest.Function)}
        self._process = os.fork()
        if self._process == 0:
            code = 1
            try:
                self._connection.close()
                os.setsid()  # Ctrl-C is pytest's to heed.
                die_with_parent(signal.SIGKILL)
                code = enclosed(lambda: _serve(there, tests))
            except BaseException:  # noqa: BLE001 - the last frame of the process
                traceback.print_exc()
            finally:
                os._exit(code)
        there.close()

    def run(self, test: str, arguments: Mapping[str, Any]) -> str:
        """Runs the body of a test; the traceback of what it raised, or nothing. The arguments are pickled."""
        try:
            self._connection.send((test, dict(arguments)))
            return str(self._connection.recv())
        except (EOFError, OSError):
            return "the capsule that tests of this file share has ended, in this test or in one before it"

    def close(self) -> None:
        """Ends the process and all labs, whatever it is doing."""
        self._connection.close()
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


@pytest.fixture(scope="module")
def shared_capsule(request: pytest.FixtureRequest) -> Iterator[SharedCapsule]:
    """Of the tests in a file that are marked `looks`."""
    capsule = SharedCapsule(request.session.items)
    yield capsule
    capsule.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test marked `looks`; what it raises there fails it here, with its traceback as text."""
    if pyfuncitem.get_closest_marker("looks") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    capsule: SharedCapsule = pyfuncitem._request.getfixturevalue("shared_capsule")
    if told := capsule.run(pyfuncitem.nodeid, arguments):
        pytest.fail(told, pytrace=False)
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
        except BaseException:  # noqa: BLE001 - whatever it is, it is the news
            connection.send(traceback.format_exc())
