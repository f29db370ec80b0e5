"""The environment of a lab's programs: the network, the folders and the host name of each place."""

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
    """The places of a lab. All are network namespaces, held open by this object; those except pods and links are
    Mininet hosts.

    Nodes with files or programs have private folders from the start. A pod's private folders and host name are created
    when its first program is started, since most pods never run one.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts: dict[str, Host] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._folders: dict[str, Folders] = {}
        self._making = threading.Lock()

    def add_host(self, name: str) -> None:
        """Adds a place as a Mininet host."""
        host = self.hosts[name] = Host(name)
        self.namespaces[name] = Namespace.of_process(host.pid)

    def make_folders(self) -> dict[str, Path]:
        """Creates the private folders of nodes, and returns their roots."""
        spaces = [space for space in self.plan.spaces if _needs_folders_at_start(space)]
        for space in spaces:
            self._make_node_folders(space)
        return self.roots()

    def roots(self) -> dict[str, Path]:
        """The roots of nodes' private folders, as paths of this process, by node."""
        return {name: root_of(self.hosts[name].pid) for name in self._folders if name in self.hosts}

    def _make_node_folders(self, node: Space) -> None:
        pid = self.hosts[node.name].pid
        make_folders(pid, node.of(File))
        self._folders[node.name] = Folders.of_process(pid)

    def folders_of(self, place: str) -> Folders | None:
        """The private folders of a place; None if it has none. A pod's are created if missing. Raises OSError."""
        space = self.plan[place]
        if space.kind is Kind.POD:
            with self._making:
                if place not in self._folders:
                    self._folders[place] = Folders.create(host_name(space), _files(self.plan, space))
        return self._folders.get(place)

    def within(self, place: str, work: Callable[[], T]) -> T:
        """Calls `work` in the network and the folders of a place, and returns its result."""

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
        """Starts a program in a place, with a separate process group and, by default, empty standard input."""
        return self.within(
            place,
            lambda: subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            ),
        )

    def run(
        self, place: str, command: Sequence[str], given: str = "", patience_s: float = RUN_PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in a place to completion. Raises TimeoutExpired."""
        with self.start(place, command, stdin=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(given.encode(), patience_s)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())

    def change(self, plan: Plan) -> None:
        """Switches to another plan: writes its files, and its names in pods with folders. Raises OSError."""
        before, self.plan = self.plan, plan
        if plan is before:
            return
        # A pod's /etc/hosts contains all places.
        pods = [name for name in self._folders if name not in self.hosts]
        for name in dict.fromkeys((*touched(before, plan), *pods)):
            if plan.has(name):
                with self._making:
                    self._update_files(plan[name], before[name] if before.has(name) else None, before)

    def _update_files(self, space: Space, old: Space | None, before: Plan) -> None:
        """Updates the files of a place; `old` is its space in the plan `before`, if any."""
        if folders := self._folders.get(space.name):
            _rewrite(folders, _files(before, old) if old else (), _files(self.plan, space))
        elif _needs_folders_at_start(space):
            self._make_node_folders(space)

    def remove(self, place: str) -> None:
        """Releases a place, and ends its Mininet host with all its processes."""
        if folders := self._folders.pop(place, None):
            folders.close()
        if host := self.hosts.pop(place, None):
            host.terminate()
        self.namespaces.pop(place).close()

    def close(self) -> None:
        """Releases all places; may be called twice."""
        while self._folders:
            self._folders.popitem()[1].close()
        for place in tuple(self.namespaces):
            self.remove(place)


def _needs_folders_at_start(space: Space) -> bool:
    return space.has_folders and space.kind is not Kind.POD


def _files(plan: Plan, space: Space) -> tuple[File, ...]:
    return files_of_pod(plan, space) if space.kind is Kind.POD else space.of(File)


def _rewrite(folders: Folders, before: Sequence[File], after: Sequence[File]) -> None:
    if gone := {file.path for file in before} - {file.path for file in after}:
        folders.remove(gone)
    if fresh := [file for file in after if file not in before]:
        folders.write(fresh)
