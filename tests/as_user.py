"""Running the program as a user who is nobody in particular."""

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
    """A command for Python with the testbed, which any user may run; skips the test where this machine has none.

    A Python that is in a folder of root's is left for the system's of the same version.
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
    pytest.skip("no Python here that users other than root may run")


def as_user(user: int, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """What a user of that number, in no group but their own, gets from a command."""
    switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all"]
    return subprocess.run([*switch, *command], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def run_as(user: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """`testbed WORDS...`, said by that user."""
    return as_user(user, [*interpreter(), "-m", "testbed", *words])
