"""Run the program as an unprivileged user."""

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@cache
def interpreter() -> list[str]:
    """A command for Python with the testbed that any user can run; skips the test if there is none.

    If other users cannot run this interpreter, the system's Python of the same version is used.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    path = os.pathsep.join([sysconfig.get_path("purelib"), str(ROOT)])
    for program in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        command = ["env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={path}", "HOME=/tmp", str(program)]
        if (
            program
            and as_user(12345, [*command, "-c", "import testbed.cli.verbs, testbed.lab.mininet_nodes"]).returncode == 0
        ):
            return command
    pytest.skip("needs a Python that users other than root can run")


def as_user(user: int, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command as the user with that ID, without supplementary groups."""
    switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all"]
    return subprocess.run([*switch, *command], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def run_as(user: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `testbed WORDS...` as that user."""
    return as_user(user, [*interpreter(), "-m", "testbed", *words])
