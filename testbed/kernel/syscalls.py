"""System calls without a function in Python 3.11."""

import ctypes
import os

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000

# Linux 5.2 and newer, with equal numbers on all architectures; glibc has functions for them only since 2.36.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSCONFIG_CMD_CREATE = 6
_CLOEXEC = 1

_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def system_call(number: int, *arguments: object) -> int:
    """Make a system call; return its result. Raises OSError."""
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        _check(result, f"system call {number}")
    return result


def current_folder() -> str:
    """The working folder; the root folder if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is slow to load
    except FileNotFoundError:
        return "/"


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Move the calling thread into an existing namespace."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode() or None)
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """Unmount lazily: open files stay open."""
    _check(_libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def detached_mount(kind: str) -> int:
    """Mount a new file system outside the file tree; return a descriptor of its root, which keeps it alive."""
    context = system_call(_FSOPEN, kind.encode(), _CLOEXEC)
    try:
        system_call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return system_call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def die_with_parent(signal_number: int) -> None:
    """Let the kernel send this process a signal when the thread that created it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
