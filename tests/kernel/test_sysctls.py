"""Sysctls of many namespaces."""

import subprocess
from pathlib import Path

import pytest

from testbed.kernel.namespace import Namespace
from testbed.kernel.sysctls import Sysctls
from testbed.plan.objects import Sysctl

pytestmark = pytest.mark.sealed

FORWARD = Sysctl("net.ipv4.ip_forward", "1")
FAMILIAR = Sysctl("net.ipv4.ip_forward", "0")
UNKNOWN = "net.no.such.key"


def said() -> str:
    command = ["sysctl", "-n", FORWARD.key]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_sysctls_are_those_of_the_threads_namespace() -> None:
    # Enough namespaces for several mounts.
    with Sysctls() as settings:
        for number, namespace in enumerate(Namespace.create_many(150)):
            if number % 3 == 0:
                settings.write([FORWARD])
            if number % 50 == 0:
                assert said() == ("1" if number % 3 == 0 else "0")
            assert settings.differing([FORWARD, FAMILIAR]) == ((FAMILIAR,) if number % 3 == 0 else (FORWARD,))
            assert settings.values([FORWARD]) == {FORWARD.key: "1" if number % 3 == 0 else "0"}
            namespace.close()


def test_an_unknown_sysctl_is_an_error_unless_it_is_optional() -> None:
    with Sysctls() as settings:
        settings.write([Sysctl(UNKNOWN, "1", optional=True)])
        assert settings.values([Sysctl(UNKNOWN, "1")]) == {}
        assert settings.differing([Sysctl(UNKNOWN, "1")]) == (Sysctl(UNKNOWN, "1"),)
        with pytest.raises(FileNotFoundError):
            settings.write([Sysctl(UNKNOWN, "1")])


def test_nothing_stays_open_or_mounted() -> None:
    def things() -> tuple[int, str]:
        return len(list(Path("/proc/self/fd").iterdir())), Path("/proc/self/mounts").read_text()

    before = things()
    with Sysctls() as settings:
        for namespace in Namespace.create_many(70):
            settings.write([FORWARD])
            namespace.close()
    assert things() == before
