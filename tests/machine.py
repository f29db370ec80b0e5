"""The virtual machine beside a session of pytest: tests/vm, and whether it still runs."""

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
"""As nice(2) has it; below 0 it takes root."""


class Machine:
    """Runs the tests marked `vm` in the virtual machine. `lock` is a file that it has locked until it ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-vm-")
        self._outcomes = Path(self._folder.name, "outcomes")
        self._log = Path(self._folder.name, "log")
        self.lock = Path(self._folder.name, "lock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Goes on without waiting for anything."""
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
            # It takes longest, and has one processor: the tests here leave it that one.
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, PRIORITY)
        finally:
            os.close(lock)  # The process has it still, and the kernel unlocks the file when that ends.

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Its exit code, which is pytest's own or one of tests/vm."""
        assert self._process
        return self._process.wait()

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def outcomes(self) -> tuple[str, dict[str, str]]:
        """Its kernel, and what came of its tests; nothing if it ended before there were any."""
        return read_outcomes(self._outcomes) if self._outcomes.exists() else ("", {})

    def stop(self) -> None:
        """Ends it, if it runs still."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def close(self) -> None:
        """Ends it, if it runs still, and removes what it wrote."""
        self.stop()
        self._folder.cleanup()


def read_outcomes(file: Path) -> tuple[str, dict[str, str]]:
    """A session's kernel and what came of each test, as `--outcomes` of tests/where.py writes them down."""
    first, *lines = map(json.loads, file.read_text().splitlines())
    return first["kernel"], {line["test"]: line["outcome"] for line in lines}


def await_end(lock: str) -> None:
    """Returns when the virtual machine that has locked this file has ended."""
    file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    finally:
        os.close(file)
