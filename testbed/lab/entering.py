"""A process of the host's becomes one of a lab: in its capsule, in the network of one of its places."""

import os
import select
import signal
from collections.abc import Sequence
from contextlib import suppress

from testbed.kernel.syscalls import die_with_parent, setns

CAPSULE = ("user", "mnt", "ipc", "uts", "pid")
"""The namespaces that all places of a lab share, in the order in which one must enter them."""
BASHRC = "/run/testbed/bashrc"
"""Inside a lab: what a shell reads there to tell where it is."""
_FROM_PROCESS = (0, -6)
"""SI_USER and SI_TKILL: a signal that a process sent, and not the kernel for the terminal's sake."""


def enter(capsule: Sequence[int], network: int | None = None) -> None:
    """Puts the calling process, which must have one thread, into a lab's namespaces.

    `capsule` are descriptors in the order of `CAPSULE`, the user namespace first: in it one has the
    right to enter the others. The PID namespace counts for children only. Root that enters another user's lab becomes
    that user: what is there is that user's making, and not to be run with root's rights.
    """
    user, *others = capsule
    here, folder = os.stat("/proc/self/ns/user"), os.getcwd()  # noqa: PTH116, PTH109 - pathlib is slow to load
    if os.fstat(user).st_ino != here.st_ino:
        if os.geteuid() == 0:
            os.setgroups([])
        setns(user, 0)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    for descriptor in (*others, *([] if network is None else [network])):
        setns(descriptor, 0)
    # The mounts are others now, but most paths lead to the same places.
    with suppress(OSError):
        os.chdir(folder)


def step_in(capsule: Sequence[int], network: int, parent: int | None = None) -> None:
    """Enters, and goes on as a child inside, whose end and signals are passed on by the process that entered.

    Returns in the child alone, which the kernel kills if that process ends, and that one when its `parent` does, if one
    is given.
    """
    alive, alive_here = os.pipe()
    enter(capsule, network)
    if parent is not None:
        die_with_parent(signal.SIGKILL)  # Not before: who enters a user namespace is released from it.
        if os.getppid() != parent:
            os._exit(1)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        os.close(alive_here)
        die_with_parent(signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)  # The other process ended before the line above took effect.
        os.close(alive)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    # Whoever waits for the other end of what was open here waits for the child alone.
    os.closerange(3, alive_here)
    os.closerange(alive_here + 1, os.sysconf("SC_OPEN_MAX"))
    _accompany(child)


def _accompany(child: int) -> None:
    """Passes signals on to the child, stops and goes on with it, and ends as it ends. All signals must be blocked.

    A terminal's signals (Ctrl-C) are sent by the kernel to the child as well, so those are not passed on.
    """
    while True:
        info = signal.sigwaitinfo(signal.valid_signals())
        if info.si_signo != signal.SIGCHLD:
            if info.si_code in _FROM_PROCESS or info.si_signo in (signal.SIGCONT, signal.SIGHUP):
                with suppress(ProcessLookupError):
                    os.kill(child, info.si_signo)
            continue
        while True:
            try:
                pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                os._exit(1)
            if pid == 0:
                break
            if os.WIFSTOPPED(status):
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                _end_like(os.waitstatus_to_exitcode(status))


def _end_like(code: int) -> None:
    """Ends this process as one with that exit code did; below 0 it is a signal."""
    if code < 0 and -code != signal.SIGKILL:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # One core is enough.
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
