"""Move a process from the host into a lab: into its capsule and the network of a place."""

import os
import select
import signal
from collections.abc import Sequence
from contextlib import suppress

from testbed.kernel.syscalls import current_folder, die_with_parent, setns

CAPSULE = ("user", "mnt", "ipc", "uts", "pid")
"""The namespaces that all places of a lab share, in the order to enter them."""
BASHRC = "/run/testbed/bashrc"
"""Inside a lab: start-up file of shells, which shows the place in the prompt."""
_FROM_PROCESS = (0, -6)
"""SI_USER and SI_TKILL: the signal was sent by a process, not by the kernel for a terminal."""


def enter(capsule: Sequence[int], network: int | None = None) -> None:
    """Move the calling process, which must have one thread, into a lab's namespaces.

    `capsule` are descriptors in the order of `CAPSULE`; the user namespace is first, since it gives the right to enter
    the others. The PID namespace applies only to children. Root becomes the lab's user when it enters another user's
    lab, so that programs of that user do not run with root's rights.
    """
    user, *others = capsule
    here, folder = os.stat("/proc/self/ns/user"), current_folder()  # noqa: PTH116 - pathlib is slow to load
    if os.fstat(user).st_ino != here.st_ino:
        if os.geteuid() == 0:
            os.setgroups([])
        setns(user, 0)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    for descriptor in (*others, *([] if network is None else [network])):
        setns(descriptor, 0)
    # The mount namespace has changed, but most paths are the same.
    with suppress(OSError):
        os.chdir(folder)


def change_place(capsule: Sequence[int], network: int) -> None:
    """Move the calling process, which is in the lab already and has one thread, to a place: its folders and network."""
    of_kind, folder = dict(zip(CAPSULE, capsule, strict=True)), current_folder()
    for descriptor in (of_kind["mnt"], of_kind["uts"], network):
        setns(descriptor, 0)
    with suppress(OSError):
        os.chdir(folder)


def step_in(capsule: Sequence[int], network: int, parent: int | None = None) -> None:
    """Enter a lab and continue in a child; the process that entered forwards signals to it and ends with its exit code.

    Returns only in the child. The kernel kills the child if its parent ends, and the process that entered if `parent`
    ends, if one is given.
    """
    alive, alive_here = os.pipe()
    enter(capsule, network)
    if parent is not None:
        die_with_parent(signal.SIGKILL)  # Not earlier: entering a user namespace resets it.
        if os.getppid() != parent:
            os._exit(1)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        os.close(alive_here)
        die_with_parent(signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)  # The parent ended before `die_with_parent` took effect.
        os.close(alive)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return
    # Only the child must hold inherited descriptors, so that the other ends of pipes see its end.
    os.closerange(3, alive_here)
    os.closerange(alive_here + 1, os.sysconf("SC_OPEN_MAX"))
    _accompany(child)


def _accompany(child: int) -> None:
    """Forward signals to the child, stop and continue with it, and end like it. All signals must be blocked.

    Signals of a terminal (Ctrl-C) are not forwarded, since the kernel sends them to the child too.
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
    """End this process with an exit code, or by a signal if `code` is negative."""
    if code < 0 and -code != signal.SIGKILL:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # One core dump is enough.
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
