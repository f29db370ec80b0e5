import subprocess
import threading
from pathlib import Path

import pytest

from testbed.kernel.namespace import Namespace, write_sysctls

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


def test_other_threads_stay_where_they_are() -> None:
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


def test_a_closed_namespace_is_gone() -> None:
    namespace = Namespace.create()
    namespace.close()
    with pytest.raises(OSError, match="Bad file descriptor"), namespace.entered():
        pass


def test_settings_are_those_of_the_namespace() -> None:
    with Namespace.create().entered():
        write_sysctls(iter([("net.ipv4.ip_forward", "1", False)]))
        said = subprocess.run(["sysctl", "-n", "net.ipv4.ip_forward"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "1"
    with Namespace.create().entered():
        said = subprocess.run(["sysctl", "-n", "net.ipv4.ip_forward"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "0"


def test_an_unknown_setting_is_an_error_unless_it_is_optional() -> None:
    write_sysctls(iter([("net.no.such.key", "1", True)]))
    with pytest.raises(FileNotFoundError):
        write_sysctls(iter([("net.no.such.key", "1", False)]))
