"""Folders that the programs of one node alone see: what they write there is not seen by others, and goes with the node.

Mininet's hosts have a mount namespace each. In it an empty /run and a file system for eBPF objects are mounted, and
over /etc and /var/lib a layer in memory, so that what the machine has there can be read, and is left as it is.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from testbed.kernel.namespace import Namespace
from testbed.kernel.syscalls import CLONE_FS, CLONE_NEWNS, MS_BIND, MS_NODEV, MS_NOSUID, mount, setns, unshare
from testbed.plan.objects import File
from testbed.plan.shell import OVERLAID, OWN_BPF, OWN_RUN

T = TypeVar("T")

_WITHOUT_BPF = (errno.ENODEV, errno.EPERM)


def root_of(pid: int) -> Path:
    """Where the folders are that a process sees, seen from here."""
    return Path(f"/proc/{pid}/root")


def make_folders(pid: int, files: Iterable[File]) -> None:
    """Gives the mount namespace of a process folders of its own, with these files. Raises OSError."""
    within(pid, _mount)
    for file in files:
        # Not joined by `/`, which would take an absolute path for all there is.
        path = Path(f"{root_of(pid)}{file.path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)


def _mount() -> None:
    mount("tmpfs", OWN_RUN, "tmpfs", MS_NOSUID | MS_NODEV)
    for name in ("lock", "log", "netns"):
        Path(OWN_RUN, name).mkdir()
    for path in OVERLAID:
        upper, work = (Path(f"{OWN_RUN}/.layers/{part}{path}") for part in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        options = f"lowerdir={path},upperdir={upper},workdir={work}"
        mount("overlay", path, "overlay", MS_NOSUID | MS_NODEV, options)
    try:
        mount("bpf", OWN_BPF, "bpf", MS_NOSUID | MS_NODEV)
    except OSError as error:
        if error.errno not in _WITHOUT_BPF:  # Who needs it says so.
            raise


def bind_namespace(namespace: Namespace, name: str) -> str:
    """Binds a network namespace to a file in the /run/netns that the calling thread sees; returns the file's path."""
    path = Path(OWN_RUN, "netns", name)
    path.touch()
    mount(f"/proc/self/fd/{namespace.fd}", str(path), "", MS_BIND)
    return str(path)


def within(pid: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises, done by a thread that sees the folders of a process.

    A thread of its own, as one that has entered another mount namespace cannot go back.
    """
    results: list[T] = []
    failures: list[Exception] = []

    def enter_and_work() -> None:
        try:
            unshare(CLONE_FS)
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(namespace, CLONE_NEWNS)
            finally:
                os.close(namespace)
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            failures.append(error)

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
