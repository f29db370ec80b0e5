"""Where programs of a lab run: the network, the folders and the host name of each place."""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from testbed.kernel.folders import Folders, make_folders, root_of
from testbed.kernel.namespace import Namespace
from testbed.lab.mininet_nodes import Host
from testbed.lab.names import files_of_pod, host_name
from testbed.plan.change import touched
from testbed.plan.objects import File, Kind, Plan, Space

RUN_PATIENCE_S = 60.0
T = TypeVar("T")


class Places:
    """The places of a lab. Those that hold processes are Mininet hosts; all are namespaces, held open here.

    Nodes with files or programs have folders of their own from the start. A pod has some, and a host name, as soon as
    the first program is started there: most pods of a lab never run one.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts: dict[str, Host] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._folders: dict[str, Folders] = {}
        self._making = threading.Lock()

    def add_host(self, name: str) -> None:
        """Makes a place that is a Mininet host."""
        host = self.hosts[name] = Host(name)
        self.namespaces[name] = Namespace.of_process(host.pid)

    def make_folders(self) -> dict[str, Path]:
        """Those of nodes. By node: where they are, seen from here."""
        spaces = [space for space in self.plan.spaces if _has_them_at_once(space)]
        for space in spaces:
            self._make_node_s(space)
        return self.roots()

    def roots(self) -> dict[str, Path]:
        """By node with folders of its own: where they are, seen from here."""
        return {name: root_of(self.hosts[name].pid) for name in self._folders if name in self.hosts}

    def _make_node_s(self, node: Space) -> None:
        pid = self.hosts[node.name].pid
        make_folders(pid, node.of(File))
        self._folders[node.name] = Folders.of_process(pid)

    def folders_of(self, place: str) -> Folders | None:
        """Those that programs of a place see; None if these are the capsule's. A pod's are made now. Raises OSError."""
        space = self.plan[place]
        if space.kind is Kind.POD:
            with self._making:
                if place not in self._folders:
                    self._folders[place] = Folders.create(host_name(space), _files(self.plan, space))
        return self._folders.get(place)

    def within(self, place: str, work: Callable[[], T]) -> T:
        """What `work` returns or raises, done where programs of a place are: in its network, with its folders."""

        def there() -> T:
            with self.namespaces[place].entered():
                return work()

        folders = self.folders_of(place)
        return folders.within(there) if folders else there()

    def start(
        self,
        place: str,
        command: Sequence[str],
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a place, with its own process group and nothing to read."""
        return self.within(
            place,
            lambda: subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            ),
        )

    def run(self, place: str, command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a program there to its end, which must come within RUN_PATIENCE_S; raises TimeoutExpired otherwise."""
        with self.start(place, command, stdin=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(given.encode(), RUN_PATIENCE_S)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())

    def change(self, plan: Plan) -> None:
        """Goes by another plan from now on: its files, and its names in pods that have folders. Raises OSError."""
        before, self.plan = self.plan, plan
        if plan is before:
            return
        # A pod's file of names has all others in it.
        pods = [name for name in self._folders if name not in self.hosts]
        for name in dict.fromkeys((*touched(before, plan), *pods)):
            if plan.has(name):
                with self._making:
                    self._refit(plan[name], before[name] if before.has(name) else None, before)

    def _refit(self, space: Space, old: Space | None, before: Plan) -> None:
        """Puts right the files of a place, of which an `old` one is in the plan `before`."""
        if folders := self._folders.get(space.name):
            _rewrite(folders, _files(before, old) if old else (), _files(self.plan, space))
        elif _has_them_at_once(space):
            self._make_node_s(space)

    def remove(self, place: str) -> None:
        """Lets go of one place, and ends what its Mininet host has started."""
        if folders := self._folders.pop(place, None):
            folders.close()
        if host := self.hosts.pop(place, None):
            host.terminate()
        self.namespaces.pop(place).close()

    def close(self) -> None:
        """Lets go of all; may be called twice."""
        while self._folders:
            self._folders.popitem()[1].close()
        for place in tuple(self.namespaces):
            self.remove(place)


def _has_them_at_once(space: Space) -> bool:
    return space.has_folders and space.kind is not Kind.POD


def _files(plan: Plan, space: Space) -> tuple[File, ...]:
    return files_of_pod(plan, space) if space.kind is Kind.POD else space.of(File)


def _rewrite(folders: Folders, before: Sequence[File], after: Sequence[File]) -> None:
    if gone := {file.path for file in before} - {file.path for file in after}:
        folders.remove(gone)
    if fresh := [file for file in after if file not in before]:
        folders.write(fresh)
