"""The capsule: private PID, mount, network, IPC and host name namespaces that labs live in.

    caller ---fork--> first process (PID 1 inside) ---fork--> worker, which does the work

The worker and all that it starts see nothing of the host's network and cannot change its mounts or /run. Its processes
are in the capsule's PID namespace: when PID 1 ends, the kernel kills every one of them and frees every namespace, and
PID 1 is killed by the kernel when the caller ends, by SIGKILL too. So nothing is ever left to clean.
"""

import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from testbed.kernel.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    die_with_parent,
    mount,
    setns,
    unshare,
)

SCRATCH = Path("/run")
"""Inside a capsule: a folder in memory that goes with it."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM)


def enclosed(work: Callable[[], int]) -> int:
    """Runs `work` in a new capsule and returns its exit code; 128 + N if signal N ended it.

    SIGINT raises KeyboardInterrupt in `work`, SIGTERM raises SystemExit; a second one of either ends the capsule at
    once. Needs root (CAP_SYS_ADMIN); raises PermissionError without.
    """
    alive, alive_here = os.pipe()
    _flush()
    # Held back until all handlers stand, so that none is lost that comes meanwhile.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    # Only children are put into the new PID namespace; the caller's later children must not be.
    unshare(CLONE_NEWPID)
    try:
        first = os.fork()
        if first == 0:
            os.close(alive_here)
            _exit_with(lambda: _first_process(alive, work, mask))
    finally:
        setns(own_pids, CLONE_NEWPID)
        os.close(own_pids)
    os.close(alive)
    try:
        return _wait(first, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(alive_here)


def _wait(first: int, mask: set[int]) -> int:
    """Waits for the capsule's end, passing signals on; the second one is SIGKILL."""
    received: list[int] = []
    # A descriptor never comes to mean another process, as a number may once this one has ended.
    process = os.pidfd_open(first)

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    # Ctrl-Z would stop the caller alone, while the work goes on unseen: a measurement cannot be paused.
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        _, status = os.waitpid(first, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(process)
    return _exit_code(status)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _first_process(alive: int, work: Callable[[], int], mask: set[int]) -> int:
    """PID 1 inside: starts the worker, passes signals on, reaps, and ends with the worker's exit code."""
    die_with_parent(signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:
        return 1  # The caller ended before the line above took effect: its end of the pipe is closed.
    # A process group of its own: the terminal's Ctrl-C reaches the caller alone, which passes it on, once.
    os.setpgid(0, 0)
    # Every namespace and every socket of a check is a descriptor; the usual 1,024 would end at a few hundred pods.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # What programs put there (/run/netns, locks, sockets) is neither seen by the host nor left behind.
    mount("tmpfs", str(SCRATCH), "tmpfs", MS_NOSUID | MS_NODEV)
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        _exit_with(lambda: _unmasked(work, mask))
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: os.kill(worker, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        pid, status = os.wait()
        if pid == worker:
            return _exit_code(status)


def _unmasked(work: Callable[[], int], mask: set[int]) -> int:
    """Lets signals through, those that came meanwhile at once, and does the work."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return work()


def _exit_with(work: Callable[[], int]) -> None:
    """Ends this forked process with what `work` returns, whatever happens in it; never returns."""
    code = 1
    try:
        code = work()
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the last frame of the process: nobody above could report it
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # Closed by whoever called the program.
            with suppress(OSError):
                stream.flush()
