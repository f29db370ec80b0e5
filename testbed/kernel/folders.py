"""Private folders of a place: its programs see and write them, and they are deleted with the place.

They are in the place's own mount namespace: an empty /run, overlays in memory over /etc and /var/lib, through which the
machine's files can be read and stay unchanged, /sys with the devices of the place, and outside pods a file system for
eBPF objects. A node's namespace belongs to its Mininet host; a pod's has no process and is held by a descriptor, like
its network namespace.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from testbed.kernel.namespace import Namespace
from testbed.kernel.syscalls import (
    CLONE_FS,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    current_folder,
    mount,
    setns,
    unmount,
    unshare,
)
from testbed.plan.objects import File
from testbed.plan.shell import OVERLAID, OWN_BPF, OWN_RUN

T = TypeVar("T")

SHARED = f"{OWN_RUN}/testbed"
"""A folder in /run that all places of a lab share."""
HOSTS = f"{SHARED}/hosts"
"""/etc/hosts of all places except pods, which have their own."""
LOCALHOST = "127.0.0.1 localhost\n::1 localhost\n"
"""Its first lines; the lab's keeper adds the others."""
NETNS = f"{OWN_RUN}/netns"
"""The folder of `ip netns`; shared too, except where `make_netns` was called."""
_WITHOUT_BPF = (errno.ENODEV, errno.EPERM)


class Folders:
    """A mount namespace and a UTS (host name) namespace, held by descriptors."""

    def __init__(self, mounts: int, host_name: int) -> None:
        self.mounts = mounts
        self.host_name = host_name

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """The namespaces of a process."""
        return cls(_open(f"/proc/{pid}/ns/mnt"), _open(f"/proc/{pid}/ns/uts"))

    @classmethod
    def create(cls, host_name: str, files: Iterable[File], network: Namespace) -> Self:
        """New namespaces without a process, with these files, and with the devices of `network` in /sys.

        Raises OSError.
        """

        def made() -> tuple[int, int]:
            setns(network.fd, CLONE_NEWNET)
            unshare(CLONE_NEWNS | CLONE_NEWUTS)
            mount_devices()
            _mount()
            _write(files)
            socket.sethostname(host_name)
            return _open("/proc/thread-self/ns/mnt"), _open("/proc/thread-self/ns/uts")

        return cls(*_in_thread(made))

    def within(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread that sees these folders and this host name; return or raise its result.

        Programs that it starts see them too. It needs a new thread, since a thread cannot return from another mount
        namespace.
        """

        def enter_and_work() -> T:
            here = current_folder()
            unshare(CLONE_FS)
            setns(self.mounts, CLONE_NEWNS)
            setns(self.host_name, CLONE_NEWUTS)
            with suppress(OSError):
                os.chdir(here)
            return work()

        return _in_thread(enter_and_work)

    def write(self, files: Iterable[File]) -> None:
        """Write these files, each atomically. Raises OSError."""
        self.within(lambda: _write(files))

    def remove(self, paths: Collection[str]) -> None:
        """Delete files that were written. Where the machine has a file at that path, a copy of it is restored."""
        machines = [File(path, Path(path).read_text(), Path(path).stat().st_mode & 0o777) for path in _lower(paths)]

        def work() -> None:
            for path in paths:
                Path(path).unlink(missing_ok=True)
            _write(machines)

        self.within(work)

    def close(self) -> None:
        os.close(self.mounts)
        os.close(self.host_name)


def root_of(pid: int) -> Path:
    """The path from here to the root folder of a process."""
    return Path(f"/proc/{pid}/root")


def with_host_name(host_name: str, work: Callable[[], T]) -> T:
    """Call `work` in a thread with another host name; programs that it starts keep the name."""

    def named() -> T:
        unshare(CLONE_NEWUTS)
        socket.sethostname(host_name)
        return work()

    return _in_thread(named)


def mount_devices() -> None:
    """Mount a /sys with the devices of the calling thread's network namespace: /sys/class/net, and below."""
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def make_folders(pid: int, files: Iterable[File]) -> None:
    """Make private folders with these files in the mount namespace of a Mininet host, which has mounted its /sys.

    Raises OSError.
    """

    def work() -> None:
        _mount()
        Path(OWN_RUN, "lock").mkdir()
        try:
            mount("bpf", OWN_BPF, "bpf", MS_NOSUID | MS_NODEV)
        except OSError as error:
            if error.errno not in _WITHOUT_BPF:  # Designs that need it report it.
                raise
        _write((File("/etc/hosts", ""), *files))
        mount(HOSTS, "/etc/hosts", "", MS_BIND)

    within(pid, work)


def make_netns(pid: int) -> None:
    """Make a private, empty folder of `ip netns` in the folders of a process, for names that others must not see."""
    within(pid, lambda: mount("tmpfs", NETNS, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"))


def _mount() -> None:
    """Mount an empty /run with the shared folders, and the overlays."""
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (SHARED, NETNS)}
    try:
        mount("tmpfs", OWN_RUN, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for path, folder in kept.items():
            Path(path).mkdir()
            mount(f"/proc/self/fd/{folder}", path, "", MS_BIND)
    finally:
        for folder in kept.values():
            os.close(folder)
    Path(OWN_RUN, "log").mkdir()
    for path in OVERLAID:
        upper, work = (Path(f"{OWN_RUN}/.layers/{part}{path}") for part in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        options = f"lowerdir={path},upperdir={upper},workdir={work}"
        mount("overlay", path, "overlay", MS_NOSUID | MS_NODEV, options)


def _write(files: Iterable[File]) -> None:
    """Write each file under another name and rename it, so that readers never see a partial file."""
    for file in files:
        path = Path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(file.text)
        fresh.chmod(file.mode)
        fresh.replace(path)


def _lower(paths: Iterable[str]) -> Iterable[str]:
    """The paths at which the machine has a file below the overlays."""
    return (path for path in paths if path.startswith(tuple(f"{o}/" for o in OVERLAID)) and Path(path).is_file())


def bind_namespace(namespace: Namespace, name: str) -> str:
    """Bind a network namespace to a file in the calling thread's /run/netns; return the file's path."""
    path = Path(NETNS, name)
    path.touch()
    mount(f"/proc/self/fd/{namespace.fd}", str(path), "", MS_BIND)
    return str(path)


def release_namespace(name: str) -> None:
    """Undo `bind_namespace`, in the folders that the calling thread sees."""
    path = Path(NETNS, name)
    unmount(str(path))
    path.unlink()


def within(pid: int, work: Callable[[], T]) -> T:
    """Call `work` in a thread that sees the folders of a process; see `Folders.within`."""
    folders = Folders.of_process(pid)
    try:
        return folders.within(work)
    finally:
        folders.close()


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    failures: list[Exception] = []

    def note() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            failures.append(error)

    thread = threading.Thread(target=note)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
