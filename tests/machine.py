"""The virtual machine that runs in parallel to a session of pytest (tests/vm)."""

import fcntl
import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from testbed.kernel.syscalls import die_with_parent

COMMAND = [str(Path(__file__).with_name("vm")), "-m", "vm"]
PRIORITY = -5
"""Nice value; below 0 it requires root."""


class Machine:
    """Runs the tests marked `vm` in the virtual machine. The file `lock` is locked until it ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-vm-")
        self._outcomes = Path(self._folder.name, "outcomes")
        self._log = Path(self._folder.name, "log")
        self.lock = Path(self._folder.name, "lock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return at once."""
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*COMMAND, "--outcomes", str(self._outcomes)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[lock],
                    preexec_fn=partial(die_with_parent, signal.SIGTERM),
                )
            # It takes longest and has one CPU, so it has priority over the tests here.
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, PRIORITY)
        finally:
            os.close(lock)  # The process keeps its descriptor; the kernel unlocks the file when it ends.

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait for its end; its exit code is pytest's or one of tests/vm."""
        assert self._process
        return self._process.wait()

    @property
    def said(self) -> str:
        """Its output."""
        return self._log.read_text(errors="replace")

    @property
    def outcomes(self) -> tuple[str, dict[str, str]]:
        """Its kernel, and the outcomes of its tests; empty if it ended before it wrote any."""
        return read_outcomes(self._outcomes) if self._outcomes.exists() else ("", {})

    def stop(self) -> None:
        """End it if it is running."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def close(self) -> None:
        """End it if it is running, and remove its files."""
        self.stop()
        self._folder.cleanup()


def read_outcomes(file: Path) -> tuple[str, dict[str, str]]:
    """A session's kernel and the outcome of each test, from a file written by `--outcomes` of tests/where.py."""
    first, *lines = map(json.loads, file.read_text().splitlines())
    return first["kernel"], {line["test"]: line["outcome"] for line in lines}


def await_end(lock: str) -> None:
    """Wait for the end of the virtual machine that has locked this file."""
    file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    finally:
        os.close(file)
