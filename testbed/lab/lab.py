"""A lab: Mininet hosts as nodes, switches and routers, namespaces as pods, and in them what the plan says."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from mininet.link import Intf
from mininet.node import Host, Node

from testbed.kernel.carry_out import PlanRefused, attach_pods, make_nodes
from testbed.kernel.memory import kernel_memory_kib
from testbed.kernel.namespace import Namespace
from testbed.plan.objects import Kind, Plan, Space

HOSTS_AT_A_TIME = 4
PROGRAMS = Path(__file__).parents[1] / "programs"
MANY_PODS = 16
"""With fewer, what else the machine allocates meanwhile is more than the pods do."""


class _PlannedInterface(Intf):  # type: ignore[misc]  # Mininet has no types
    """An interface that the plan has already set up, made known to its Mininet host."""

    def config(self, **_: Any) -> dict[str, Any]:
        """Leaves the device as it is; Mininet's own would call ifconfig for it."""
        return {}


def introduce(host: Node, space: Space, plan: Plan) -> None:
    """Lets a Mininet node know its interfaces, so that `host.IP()` and the like answer.

    A node's first interface stands for it, so the one with its address comes first.
    """
    addresses = {item.dev: item.interface for item in space.addresses if item.interface.version == 4}
    devices = plan.devices_of(space.name)
    for dev in sorted(devices, key=lambda dev: dev not in addresses or addresses[dev].ip not in space.reached_at):
        interface = _PlannedInterface(dev, node=host, mac=devices[dev].mac, moveIntfFn=lambda *_: None)
        if dev in addresses:
            interface.ip = str(addresses[dev].ip)
            interface.prefixLen = addresses[dev].network.prefixlen


class Lab:
    """One plan brought to life. To be used inside a capsule (`testbed.lab.capsule`), as a context manager.

    Nodes, switches and routers are Mininet hosts (`hosts`); pods and links with a rate or a delay are namespaces
    without a process, held open here.
    """

    def __init__(self, plan: Plan) -> None:
        """Brings the plan up; what was there already is taken down if a part of it fails."""
        self.plan = plan
        self.hosts: dict[str, Host] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._programs: list[subprocess.Popen[bytes]] = []
        self.attach_seconds: float | None = None
        """What attaching a pod took, on average over all of them; None without pods."""
        self.pod_memory_kib: float | None = None
        """Kernel memory that came into use while pods were made, for each of them; None for fewer than MANY_PODS."""
        pods = plan.of_kind(Kind.POD)
        begin = time.monotonic()
        try:
            self._start_hosts([space.name for space in plan.spaces if space.kind not in (Kind.POD, Kind.CABLE)])
            for cable in plan.of_kind(Kind.CABLE):
                self.namespaces[cable.name] = Namespace.create()
            make_nodes(plan, self.namespaces)
            self._run_programs()
            before, attaching = kernel_memory_kib(), time.monotonic()
            attach_pods(plan, self.namespaces)
            if pods:
                self.attach_seconds = (time.monotonic() - attaching) / len(pods)
            if len(pods) >= MANY_PODS:
                self.pod_memory_kib = (kernel_memory_kib() - before) / len(pods)
            for name, host in self.hosts.items():
                introduce(host, plan[name], plan)
        except BaseException:
            self.down()
            raise
        self.up_seconds = time.monotonic() - begin

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
        for space in self.plan.spaces:
            for process in space.processes:
                # Isolated, and without the site's packages, of which they need none: a Python starts in 15 ms so.
                command = [sys.executable, "-I", "-S", str(PROGRAMS / f"{process.program}.py"), *process.arguments]
                program = self.start(space.name, command)
                self._programs.append(program)
                started.append((space.name, process.program, program))
        for place, name, program in started:
            assert program.stdout and program.stderr
            if program.stdout.readline() != b"ready\n":
                reason = program.stderr.read().decode(errors="replace").strip()
                raise PlanRefused(f"in {place}: the program {name} did not start: {reason}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def start(
        self, place: str, command: Sequence[str], stdout: int | IO[bytes] = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a pod or on a node, with its own process group and nothing to read."""
        with self.namespaces[place].entered():
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )

    def down(self) -> None:
        """Ends all programs and lets go of the namespaces. May be called twice, and on a half-built lab."""
        while self._programs:
            program = self._programs.pop()
            program.kill()
            program.communicate()
        while self.hosts:
            _, host = self.hosts.popitem()
            host.terminate()
        while self.namespaces:
            _, namespace = self.namespaces.popitem()
            namespace.close()
