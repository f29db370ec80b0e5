"""A lab: Mininet hosts as nodes, switches and routers, namespaces as pods, and in them what the plan says."""

import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, Self

from testbed.cni.calls import Call
from testbed.kernel.apply import PlanRefused, apply
from testbed.kernel.folders import make_folders, root_of
from testbed.kernel.memory import kernel_memory_kib
from testbed.kernel.namespace import Namespace
from testbed.lab.mininet_nodes import Host, Intf, Node
from testbed.plan.change import diff, without_pods
from testbed.plan.objects import Daemon, DeviceAddress, File, Kind, Plan, Process, Space
from testbed.plan.shell import PASSWORD, log_of

if TYPE_CHECKING:
    from testbed.lab.plugging import Plugging

Verb = Literal["add", "del", "check", "status", "gc"]
VERBS: tuple[Verb, ...] = ("add", "del", "check", "status", "gc")
"""What a container runtime can be told."""
UNPLUG_PATIENCE_S = 20.0
"""For all DELs of CNI plugins together when a lab is taken down; what is left then goes with the namespaces."""
HOSTS_AT_A_TIME = 4
PASSWORD_BYTES = 16
PROGRAMS = Path(__file__).parents[1] / "programs"
DAEMON_PATIENCE_S, CONVERGENCE_PATIENCE_S, RUN_PATIENCE_S = 60.0, 180.0, 60.0
"""On a slow machine; a daemon answers within some hundredths of a second, routes take a few seconds."""
DAEMON_POLL_S = 0.01
LOG_LINES = 10
MANY_PODS = 16
"""With fewer, what else the machine allocates meanwhile is more than the pods do."""


@dataclass(frozen=True)
class Running:
    """A program or a daemon of the plan's that was started."""

    space: Space
    program: Process | Daemon
    process: subprocess.Popen[bytes]


class Ended(NamedTuple):
    """One that runs no more, although the lab is up."""

    place: str
    what: str
    """Which it was, how it ended, and what it said last."""
    mend: str
    """The command that starts it anew; empty where none would do."""


class _PlannedInterface(Intf):  # type: ignore[misc]  # Mininet has no types
    """An interface that the plan has already set up, made known to its Mininet host."""

    def config(self, **_: Any) -> dict[str, Any]:
        """Leaves the device as it is; Mininet's own would call ifconfig for it."""
        return {}


def introduce(host: Node, space: Space, plan: Plan) -> None:
    """Lets a Mininet node know its interfaces, so that `host.IP()` and the like answer.

    A node's first interface stands for it, so the one with its address comes first.
    """
    addresses = {item.dev: item.interface for item in space.of(DeviceAddress) if item.interface.version == 4}
    devices = plan.devices_of(space.name)
    for dev in sorted(devices, key=lambda dev: dev not in addresses or addresses[dev].ip not in space.reached_at):
        interface = _PlannedInterface(dev, node=host, mac=devices[dev].mac, moveIntfFn=lambda *_: None)
        if dev in addresses:
            interface.ip = str(addresses[dev].ip)
            interface.prefixLen = addresses[dev].network.prefixlen


def _how_ended(code: int) -> str:
    return f"ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"


def _quoted(text: str) -> str:
    """The end of what somebody said, behind a colon."""
    lines = text.splitlines()[-LOG_LINES:]
    return ":\n" + "\n".join(f"  {line}" for line in lines) if lines else ", and has said nothing"


class Lab:
    """One plan brought to life. To be used inside a capsule (`testbed.lab.capsule`), as a context manager.

    Nodes, switches and routers are Mininet hosts (`hosts`); pods and links with a rate or a delay are namespaces
    without a process, held open here.
    """

    plugging: "Plugging | None" = None
    """The container runtime, of a plan with pods that CNI plugins attach."""
    convergence_seconds: float | None = None
    """What it took from the start of routing daemons until all had put their routes into the kernel; None without
    such."""
    attach_seconds: float | None = None
    """What attaching a pod took, on average over all of them; None without pods."""
    pod_memory_kib: float | None = None
    """Kernel memory that came into use while pods were made, for each of them; None for fewer than MANY_PODS."""

    def __init__(self, plan: Plan, calls: list[Call] | None = None) -> None:
        """Brings the plan up; what was there already is taken down if a part of it fails.

        `calls` hears of every call of a CNI plugin, if there are such.
        """
        self.plan = plan
        self._calls = [] if calls is None else calls
        self.hosts: dict[str, Host] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._programs: list[Running] = []
        self._heard: dict[subprocess.Popen[bytes], str] = {}
        """What programs said before they ended, which can be read once."""
        self._hearing = threading.Lock()
        pods = plan.of_kind(Kind.POD)
        begin = time.monotonic()
        try:
            self._start_hosts([space.name for space in plan.spaces if space.kind not in (Kind.POD, Kind.CABLE)])
            for cable in plan.of_kind(Kind.CABLE):
                self.namespaces[cable.name] = Namespace.create()
            for space in plan.spaces:
                if space.has_folders:
                    make_folders(self.hosts[space.name].pid, space.of(File))
            roots = {space.name: root_of(self.hosts[space.name].pid) for space in plan.spaces if space.has_folders}
            nodes = without_pods(plan)
            apply(diff(None, nodes), None, nodes, self.namespaces, roots)
            self._run_programs()
            self._run_daemons()
            self.plugging = self._runtime() if plan.plugged else None
            before, attaching = kernel_memory_kib(), time.monotonic()
            apply(diff(nodes, plan), nodes, plan, self.namespaces, roots)
            if self.plugging:
                self.plugging.add_all()
            if pods:
                self.attach_seconds = (time.monotonic() - attaching) / len(pods)
            if len(pods) >= MANY_PODS:
                self.pod_memory_kib = (kernel_memory_kib() - before) / len(pods)
            if self.plugging:
                self.plan = self.plugging.completed()  # What plugins made belongs to the plan from then on.
            for name, host in self.hosts.items():
                introduce(host, self.plan[name], self.plan)
        except BaseException as error:
            failed = self.down()
            if failed and isinstance(error, PlanRefused):
                raise PlanRefused("\n".join((str(error), *failed))) from error
            raise
        self.up_seconds = time.monotonic() - begin

    def _runtime(self) -> "Plugging":
        """What has CNI plugins attach pods."""
        from testbed.lab.plugging import Plugging  # Which takes a tenth of a second to load, and most labs do without.

        pids = {name: host.pid for name, host in self.hosts.items()}
        return Plugging(self.plan, self.namespaces, pids, self._calls)

    def _start_hosts(self, names: Sequence[str]) -> None:
        """A Mininet host for each. Several at a time, as one mostly waits for its shell's first prompt."""
        with ThreadPoolExecutor(HOSTS_AT_A_TIME) as pool:
            # Each is known as soon as it is there, so that those of a half-built lab are ended too.
            for starting in [pool.submit(self._start_host, name) for name in names]:
                starting.result()

    def _start_host(self, name: str) -> None:
        host = self.hosts[name] = Host(name)
        self.namespaces[name] = Namespace.of_process(host.pid)

    def _run_programs(self) -> None:
        """Starts what the plan has running on nodes, and waits until it says that it is ready."""
        started = []
        password = secrets.token_hex(PASSWORD_BYTES)
        for space in self.plan.spaces:
            for process in space.of(Process):
                # Isolated, and without the site's packages, of which most need none: a Python starts in 15 ms so.
                options = ["-I"] if process.encrypts else ["-I", "-S"]
                command = [sys.executable, *options, str(PROGRAMS / f"{process.program}.py"), *process.arguments]
                environment = os.environ | {PASSWORD: password} if process.encrypts else None
                program = self.start(space.name, command, environment=environment)
                self._programs.append(Running(space, process, program))
                started.append((space.name, process.program, program))
        for place, name, program in started:
            assert program.stdout and program.stderr
            if program.stdout.readline() != b"ready\n":
                reason = program.stderr.read().decode(errors="replace").strip()
                raise PlanRefused(f"in {place}: the program {name} did not start: {reason}")

    def _run_daemons(self) -> None:
        """Starts the plan's daemons, and waits until they answer, and until their routes are in the kernel."""
        begin = time.monotonic()
        started = []
        for space in self.plan.spaces:
            for daemon in space.of(Daemon):
                with open(self._log(space, daemon), "wb") as log:  # noqa: PTH123 - a path within another root
                    program = self.start(space.name, daemon.command, stdout=log, stderr=subprocess.STDOUT)
                self._programs.append(Running(space, daemon, program))
                started.append((space, daemon, program))
        for space, daemon, program in started:
            self._await_daemon(space, daemon, program)
        if any(space.learned for space in self.plan.spaces):
            self._await_routes(begin)
            self.convergence_seconds = time.monotonic() - begin

    def _log(self, space: Space, daemon: Daemon) -> Path:
        return Path(f"{root_of(self.hosts[space.name].pid)}{log_of(daemon)}")

    def _await_daemon(self, space: Space, daemon: Daemon, program: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + DAEMON_PATIENCE_S
        while True:
            if program.poll() is not None:
                problem = _how_ended(program.returncode)
                break
            if self.run(space.name, daemon.ready).returncode == 0:
                return
            if time.monotonic() > end:
                problem = f"does not answer `{' '.join(daemon.ready)}`"
                break
            time.sleep(DAEMON_POLL_S)
        raise PlanRefused(f"in {space.name}: the daemon {daemon.name} {problem}{self._said_by(space, daemon)}")

    def _said_by(self, space: Space, daemon: Daemon) -> str:
        """The end of a daemon's log, behind a colon."""
        return _quoted(self._log(space, daemon).read_text(errors="replace"))

    def _await_routes(self, begin: float) -> None:
        from testbed.kernel.state import routes  # Which takes a tenth of a second to load, and most labs do without.

        waiting = [space for space in self.plan.spaces if space.learned]
        while waiting:
            space = waiting[0]
            with self.namespaces[space.name].entered():
                missing = set(space.learned) - routes()
            if not missing:
                waiting.pop(0)
            elif time.monotonic() - begin > CONVERGENCE_PATIENCE_S:
                which = ", ".join(sorted(str(route.to) for route in missing))
                said = "".join(self._said_by(space, daemon) for daemon in space.of(Daemon))
                raise PlanRefused(f"in {space.name}: no daemon has put there the routes to {which}{said}")
            else:
                time.sleep(DAEMON_POLL_S)

    def ended(self) -> tuple[Ended, ...]:
        """The programs and daemons of the plan that run no more; a daemon that answers was started anew by somebody."""
        found = []
        for space, program, process in ((one.space, one.program, one.process) for one in self._programs):
            if process.poll() is None:
                continue
            how = f"has {_how_ended(process.returncode)}"
            if isinstance(program, Daemon):
                if self.run(space.name, program.ready).returncode:
                    what = f"{program.name}, a daemon of the design, {how}{self._said_by(space, program)}"
                    # By itself, so that it outlives whoever starts it.
                    again = f"setsid --fork {shlex.join(program.command)} >> {log_of(program)} 2>&1"
                    found.append(Ended(space.name, what, f"sh -c {shlex.quote(again)}"))
            else:
                what = f"{program.program}, a program of the design, {how}{self._last_words(process)}"
                found.append(Ended(space.name, what, ""))
        return tuple(found)

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        """The end of what a program that has ended had to say, behind a colon."""
        with self._hearing:
            if process not in self._heard:
                assert process.stderr
                # Another process may hold the other end.
                os.set_blocking(process.stderr.fileno(), False)
                self._heard[process] = (process.stderr.read() or b"").decode(errors="replace")
            return _quoted(self._heard[process])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def start(
        self,
        place: str,
        command: Sequence[str],
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a pod or on a node, with its own process group and nothing to read."""
        with self.namespaces[place].entered():
            return subprocess.Popen(
                [*self._into_folders(place), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )

    def run(self, place: str, command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a program there to its end, which must come within RUN_PATIENCE_S; raises TimeoutExpired otherwise."""
        with self.namespaces[place].entered():
            return subprocess.run(
                [*self._into_folders(place), *command],
                input=given,
                capture_output=True,
                text=True,
                timeout=RUN_PATIENCE_S,
                start_new_session=True,
            )

    def _into_folders(self, place: str) -> list[str]:
        """What stands before a command that is to see the folders of a place's own, if it has such."""
        return ["mnexec", "-a", self.folders_of(place)] if self.plan[place].has_folders else []

    def folders_of(self, place: str) -> str:
        """Whose folders programs in a place see: a process, as /proc names it."""
        return str(self.hosts[place].pid) if self.plan[place].has_folders else "self"

    def unplug(self) -> tuple[str, ...]:
        """Has CNI plugins take back what they made, as far as that is done in time; see `testbed.lab.plugging`.

        What failed.
        """
        return self.plugging.remove_all() if self.plugging is not None else ()

    def down(self) -> tuple[str, ...]:
        """Ends all programs and lets go of the namespaces. May be called twice, and on a half-built lab.

        What failed when CNI plugins were to take back what they made.
        """
        failed = self.unplug()
        while self._programs:
            process = self._programs.pop().process
            process.kill()
            process.communicate()
        while self.hosts:
            _, host = self.hosts.popitem()
            host.terminate()
        while self.namespaces:
            _, namespace = self.namespaces.popitem()
            namespace.close()
        return failed
