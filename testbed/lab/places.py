"""The environment of a lab's programs: the network, the folders and the host name of each place."""

import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from testbed.kernel.folders import Folders, make_folders, make_netns, root_of, with_host_name
from testbed.kernel.namespace import Namespace
from testbed.lab.mininet_nodes import Host
from testbed.lab.names import files_of, host_name_in
from testbed.plan.change import touched
from testbed.plan.objects import File, Plan, Space

RUN_PATIENCE_S = 60.0
T = TypeVar("T")


class Places:
    """The places of a lab. All are network namespaces, held open by this object; those except pods and links are
    Mininet hosts.

    Each has its own host name and private folders, which are created when its first program is started, since most
    places never run one; those of nodes with files or programs exist from the start.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts: dict[str, Host] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.pod_files: Callable[[Plan, Space], Iterable[File]] = lambda plan, space: ()
        """Files of a pod that replace the usual ones for names; set by the kubelet."""
        self._folders: dict[str, Folders] = {}
        self._making = threading.Lock()

    def add_host(self, name: str) -> None:
        """Adds a place as a Mininet host."""
        host = self.hosts[name] = with_host_name(name, lambda: Host(name))
        self.namespaces[name] = Namespace.of_process(host.pid)

    def make_folders(self) -> dict[str, Path]:
        """Creates the private folders of nodes with files or programs, and returns the roots of all nodes."""
        for name in self.hosts:
            if self.plan[name].has_folders:
                self._make_folders(self.plan[name])
        return self.roots()

    def roots(self) -> dict[str, Path]:
        """The root folders of nodes, routers and switches, as paths of this process, by place."""
        return {name: root_of(host.pid) for name, host in self.hosts.items()}

    def _make_folders(self, space: Space) -> None:
        files, network = self._files(self.plan, space), self.namespaces[space.name]
        if space.name not in self.hosts:
            self._folders[space.name] = Folders.create(host_name_in(files), files, network)
            return
        pid = self.hosts[space.name].pid
        make_folders(pid, files)
        if space.has_folders:
            make_netns(pid)
        self._folders[space.name] = Folders.of_process(pid)

    def _files(self, plan: Plan, space: Space) -> tuple[File, ...]:
        return files_of(plan, space, self.pod_files(plan, space))

    def folders_of(self, place: str) -> Folders:
        """The private folders of a place, created if missing. Raises OSError."""
        with self._making:
            if place not in self._folders:
                self._make_folders(self.plan[place])
            return self._folders[place]

    def within(self, place: str, work: Callable[[], T]) -> T:
        """Calls `work` in the network and the folders of a place, and returns its result."""

        def there() -> T:
            with self.namespaces[place].entered():
                return work()

        return self.folders_of(place).within(there)

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
        # /etc/hosts of a pod or a link contains all places.
        pods = [name for name in self._folders if name not in self.hosts]
        for name in dict.fromkeys((*touched(before, plan), *pods)):
            if plan.has(name):
                with self._making:
                    self._update_files(plan[name], before[name] if before.has(name) else None, before)

    def _update_files(self, space: Space, old: Space | None, before: Plan) -> None:
        """Updates the files of a place; `old` is its space in the plan `before`, if any."""
        if folders := self._folders.get(space.name):
            _rewrite(folders, self._files(before, old) if old else (), self._files(self.plan, space))
            if space.has_folders and old and not old.has_folders and space.name in self.hosts:
                make_netns(self.hosts[space.name].pid)
        elif space.has_folders and space.name in self.hosts:
            self._make_folders(space)

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


def _rewrite(folders: Folders, before: Sequence[File], after: Sequence[File]) -> None:
    if gone := {file.path for file in before} - {file.path for file in after}:
        folders.remove(gone)
    if fresh := [file for file in after if file not in before]:
        folders.write(fresh)
