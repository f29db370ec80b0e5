import os
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from testbed.kernel.namespace import Namespace

pytestmark = pytest.mark.sealed


def here() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_entering_moves_the_thread_and_leaving_moves_it_back() -> None:
    before = here()
    namespace = Namespace.create()
    with namespace.entered():
        assert here() != before
    assert here() == before


def test_an_error_inside_moves_the_thread_back() -> None:
    before = here()
    with pytest.raises(KeyError), Namespace.create().entered():
        raise KeyError
    assert here() == before


def test_other_threads_stay_in_their_namespace() -> None:
    before = here()
    seen: list[str] = []
    waiting = threading.Event()
    thread = threading.Thread(target=lambda: (waiting.wait(5), seen.append(here())))
    thread.start()
    with Namespace.create().entered():
        waiting.set()
        thread.join()
    assert seen == [before]


def test_processes_started_inside_are_inside() -> None:
    with Namespace.create().entered():
        inside = here()
        said = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == inside


def test_a_closed_namespace_cannot_be_entered() -> None:
    namespace = Namespace.create()
    namespace.close()
    with pytest.raises(OSError, match="Bad file descriptor"), namespace.entered():
        pass


def test_the_thread_is_inside_a_yielded_namespace() -> None:
    before = here()
    seen = []
    for namespace in Namespace.create_many(3):
        assert os.fstat(namespace.fd).st_ino == Path("/proc/thread-self/ns/net").stat().st_ino
        seen.append(here())
        namespace.close()
    assert len({before, *seen}) == 4
    assert here() == before


def test_closing_the_generator_moves_the_thread_back() -> None:
    before = here()
    with closing(Namespace.create_many(3)) as created:
        next(created).close()
    assert here() == before
