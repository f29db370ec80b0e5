"""The capsule: private PID, mount, network, IPC and UTS namespaces for labs.

    caller ---fork--> first process (PID 1 inside) ---fork--> worker, which does the work

The worker and its children cannot see the host's network, also not in /sys, or change its mounts and /run. They are in
the capsule's PID namespace: when PID 1 ends, the kernel kills all of them and frees all namespaces. The kernel kills
the PID 1 of an `enclosed` capsule when its caller ends, even by SIGKILL; a `released` capsule continues without its
caller until its work ends. In both cases nothing is left to clean up.

Without root rights, the caller becomes root in a user namespace around the capsule. That root can do everything that a
lab needs inside, and nothing outside.
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

from testbed.kernel.folders import HOSTS, LOCALHOST, NETNS, SHARED, mount_devices
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
"""Inside a capsule: a folder in memory, removed with it."""

_FORWARDED = (signal.SIGINT, signal.SIGTERM)
_HELD = (*_FORWARDED, signal.SIGTSTP)
"""Blocked until their handlers are installed."""


def enclosed(work: Callable[[], int]) -> int:
    """Run `work` in a new capsule and return its exit code; 128 + N if signal N ended it.

    SIGINT raises KeyboardInterrupt in `work`, SIGTERM raises SystemExit; a second signal ends the capsule at once.
    Requires root (CAP_SYS_ADMIN) or the right to create user namespaces; raises OSError otherwise.
    """
    if os.geteuid() == 0:
        return _attended(lambda mask: _first_process(work, mask), CLONE_NEWPID)

    def as_root(mask: set[int]) -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        become_root()
        return enclosed(work)

    return _attended(as_root)


def released(work: Callable[[], int]) -> None:
    """Run `work` in a new capsule that is independent of its caller; return when it has started.

    The work has no terminal; its standard streams are /dev/null. It requires the same rights as `enclosed`.
    """
    _flush()
    between = os.fork()
    if between == 0:
        _exit_with(_release, work)
    if code := _exit_code(os.waitpid(between, 0)[1]):
        raise OSError(code, os.strerror(code))


def _release(work: Callable[[], int]) -> int:
    """The process between the caller and the first process; init adopts the latter when this one ends."""
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
    """Run `work` in a child that ends with this process, and return its exit code; signals are forwarded.

    They are blocked until all handlers are installed, so that none is lost; `work` gets the mask that unblocks them.
    With `flags` CLONE_NEWPID the child is the first process of a new PID namespace.
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
            # Unshare affects all children, but the caller's later ones must not be in the new PID namespace. A process
            # that just became root in a user namespace cannot go back, and has no later children.
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
    """Do the work in a process that the kernel kills when its parent ends.

    It has its own process group, so that Ctrl-C reaches only the caller, which forwards it once.
    """
    die_with_parent(signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:
        return 1  # The caller ended before `die_with_parent` took effect: its end of the pipe is closed.
    os.setpgid(0, 0)
    return work()


def _wait(first: int, mask: set[int]) -> int:
    """Wait for the end of the capsule and forward signals; the second is sent as SIGKILL."""
    received: list[int] = []
    # Unlike a PID, a descriptor cannot be reused for another process.
    process = os.pidfd_open(first)

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    # Ctrl-Z would stop only the caller, while the work continues: a measurement cannot be paused.
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
    """PID 1 inside: start the worker, forward signals, reap processes, and return the worker's exit code."""
    # Every namespace and every socket of a check needs a descriptor; 1,024 are enough for only a few hundred pods.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # Files in /run (netns, locks, sockets) are not visible to the host, and removed with the capsule.
    mount("tmpfs", str(SCRATCH), "tmpfs", MS_NOSUID | MS_NODEV)
    for folder in (SHARED, NETNS):
        Path(folder).mkdir()
    Path(HOSTS).write_text(LOCALHOST)
    mount_devices()
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
    """Unblock signals, which delivers pending ones, and do the work."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return work()


def _exit_with(work: Callable[..., int], *arguments: Any) -> None:
    """End this forked process with the result of `work` as its exit code, also on exceptions; never returns."""
    code = 1
    try:
        code = work(*arguments)
    except SystemExit as request:
        code = request.code if isinstance(request.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the outermost frame of the process must report it
        traceback.print_exc()
    finally:
        try:
            _flush()
        finally:
            os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if the caller of the program closed it.
            with suppress(OSError):
                stream.flush()
