"""The capsule: private PID, mount, network, IPC and host name namespaces that labs live in.

    caller ---fork--> first process (PID 1 inside) ---fork--> worker, which does the work

The worker and all that it starts see nothing of the host's network and cannot change its mounts or /run. Its processes
are in the capsule's PID namespace: when PID 1 ends, the kernel kills every one of them and frees every namespace. The
PID 1 of an `enclosed` capsule is killed by the kernel when its caller ends, by SIGKILL too; a `released` one goes on
without its caller until its work ends. Either way nothing is ever left to clean.

Whoever is not root becomes it in a user namespace around the capsule, where that root may do all that a lab needs, and
outside of it nothing.
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
from typing import Any

from testbed.kernel.folders import SHARED
from testbed.kernel.rights import become_root
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
_HELD = (*_FORWARDED, signal.SIGTSTP)
"""Blocked until their handlers are installed."""


def enclosed(work: Callable[[], int]) -> int:
    """Runs `work` in a new capsule and returns its exit code; 128 + N if signal N ended it.

    SIGINT raises KeyboardInterrupt in `work`, SIGTERM raises SystemExit; a second one of either ends the capsule at
    once. Needs root (CAP_SYS_ADMIN), or the right to make user namespaces; raises OSError without.
    """
    if os.geteuid() == 0:
        return _attended(lambda mask: _first_process(work, mask), CLONE_NEWPID)

    def as_root(mask: set[int]) -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        become_root()
        return enclosed(work)

    return _attended(as_root)


def released(work: Callable[[], int]) -> None:
    """Runs `work` in a new capsule that has nothing more to do with its caller; returns once that has begun.

    The work has no terminal, and nothing to read or to print to. Rights as for `enclosed`.
    """
    _flush()
    between = os.fork()
    if between == 0:
        _exit_with(_release, work)
    if code := _exit_code(os.waitpid(between, 0)[1]):
        raise OSError(code, os.strerror(code))


def _release(work: Callable[[], int]) -> int:
    """The process between the caller and the first one, which init inherits as soon as this one ends."""
    os.setsid()
    try:
        if os.geteuid() != 0:
            become_root()
        unshare(CLONE_NEWPID)
    except OSError as error:
        return error.errno or 1
    if os.fork() == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        os.close(nowhere)
        _exit_with(_first_process, work, set[int]())
    return 0


def _attended(work: Callable[[set[int]], int], flags: int = 0) -> int:
    """Runs `work` in a child that ends with this process, and returns its exit code; signals are passed on.

    They are held back until all handlers stand, so that none is lost that comes meanwhile: `work` is given the mask to
    let them through. With `flags` CLONE_NEWPID the child is the first process of a new PID namespace.
    """
    alive, alive_here = os.pipe()
    _flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    if flags:
        unshare(flags)
    try:
        child = os.fork()
        if child == 0:
            os.close(alive_here)
            _exit_with(_tied, alive, lambda: work(mask))
    finally:
        if flags:
            # Only children are put into the new PID namespace; the caller's later children must not be. One who has
            # just become root in a user namespace may not go back, and has no later children.
            with suppress(PermissionError):
                setns(own_pids, CLONE_NEWPID)
        os.close(own_pids)
    os.close(alive)
    try:
        return _wait(child, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(alive_here)


def _tied(alive: int, work: Callable[[], int]) -> int:
    """Does the work in a process that the kernel kills when its parent ends.

    In a process group of its own: the terminal's Ctrl-C reaches the caller alone, which passes it on, once.
    """
    die_with_parent(signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:
        return 1  # The caller ended before the line above took effect: its end of the pipe is closed.
    os.setpgid(0, 0)
    return work()


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


def _first_process(work: Callable[[], int], mask: set[int]) -> int:
    """PID 1 inside: starts the worker, passes signals on, reaps, and ends with the worker's exit code."""
    # Every namespace and every socket of a check is a descriptor; the usual 1,024 would end at a few hundred pods.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # What programs put there (/run/netns, locks, sockets) is neither seen by the host nor left behind.
    mount("tmpfs", str(SCRATCH), "tmpfs", MS_NOSUID | MS_NODEV)
    Path(SHARED).mkdir()
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        _exit_with(_unmasked, work, mask)
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


def _exit_with(work: Callable[..., int], *arguments: Any) -> None:
    """Ends this forked process with what `work` returns, whatever happens in it; never returns."""
    code = 1
    try:
        code = work(*arguments)
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
