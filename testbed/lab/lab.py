"""A lab: Mininet hosts for nodes, switches and routers, namespaces for pods, and the plan's objects in them."""

import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, Self

from testbed.cni.calls import Call
from testbed.kernel.announcing import announce
from testbed.kernel.apply import Applied, bring_up
from testbed.kernel.freeing import await_freed
from testbed.kernel.memory import kernel_memory_kib
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import NotAttached, PlanRefused
from testbed.lab.mininet_nodes import Host, Intf, Node
from testbed.lab.places import Places
from testbed.lab.programs import Ended, Programs, items
from testbed.plan.change import Change, without_pods
from testbed.plan.collecting import without_collecting
from testbed.plan.objects import DeviceAddress, Kind, Plan, Space

if TYPE_CHECKING:
    from testbed.lab.plugging import Plugging

HOSTS_AT_A_TIME = 4
MANY_PODS = 16
"""With fewer pods, the kernel's other allocations would exceed theirs."""


class _PlannedInterface(Intf):  # type: ignore[misc]  # Mininet has no types
    """A Mininet interface for a device that is already configured."""

    def config(self, **_: Any) -> dict[str, Any]:
        """Does nothing; Mininet would call ifconfig."""
        return {}


def introduce(host: Node, space: Space, plan: Plan) -> None:
    """Registers a Mininet node's interfaces, so that `host.IP()` and similar methods work.

    Mininet uses the first interface as the default, so the one with the node's address is first.
    """
    known = host.nameToIntf
    host.intfs, host.ports, host.nameToIntf = {}, {}, {}
    addresses = {item.dev: item.interface for item in space.of(DeviceAddress) if item.interface.version == 4}
    devices = plan.devices_of(space.name)
    in_order = sorted(devices, key=lambda dev: dev not in addresses or addresses[dev].ip not in space.reached_at)
    for port, dev in enumerate(in_order):
        mac, address = devices[dev].mac, addresses.get(dev)
        ip, length = (str(address.ip), address.network.prefixlen) if address else (None, None)
        interface = known.get(dev)
        if interface and (interface.mac, interface.ip, interface.prefixLen) == (mac, ip, length):
            host.intfs[port], host.ports[interface], host.nameToIntf[dev] = interface, port, interface
            continue
        interface = _PlannedInterface(dev, node=host, port=port, mac=mac, moveIntfFn=lambda *_: None)
        interface.ip, interface.prefixLen = ip, length


class Lab:
    """A running plan. To be used in a capsule (`testbed.lab.capsule`), as a context manager.

    Nodes, switches and routers are Mininet hosts (`hosts`); pods, and links with a rate or a delay, are namespaces
    without a process, held open by this object.
    """

    plugging: "Plugging | None" = None
    """The container runtime, if CNI plugins attach pods."""
    convergence_seconds: float | None = None
    """Time from the start of programs until all learned routes were in the kernel; None if no routes are learned."""
    attach_seconds: float | None = None
    """Average time to attach a pod; None without pods."""
    pod_memory_kib: float | None = None
    """Increase of kernel memory while pods were created, per pod; None for fewer than MANY_PODS."""

    def __init__(self, plan: Plan, calls: list[Call] | None = None) -> None:
        """Builds the plan; if a part fails, all is taken down again.

        Every call of a CNI plugin is appended to `calls`.
        """
        self._calls = [] if calls is None else calls
        self.drawn = plan
        """The plan made by the design, without objects of CNI plugins."""
        self.places = Places(plan)
        self.programs = Programs(self.places)
        begin = time.monotonic()
        with without_collecting():
            self._build(plan)
        self.up_seconds = time.monotonic() - begin

    def _build(self, plan: Plan) -> None:
        pods = plan.of_kind(Kind.POD)
        try:
            self._start_hosts([space.name for space in plan.spaces if space.kind not in (Kind.POD, Kind.CABLE)])
            for cable in plan.of_kind(Kind.CABLE):
                self.namespaces[cable.name] = Namespace.create()
            roots = self.places.make_folders()
            nodes = without_pods(plan)
            bring_up(None, nodes, self.namespaces, roots)
            self._run_programs()
            self.plugging = self._runtime(plan) if plan.plugged else None
            before, attaching = kernel_memory_kib(), time.monotonic()
            bring_up(nodes, plan, self.namespaces, roots)
            if self.plugging:
                self.plugging.add_all()
            if pods:
                self.attach_seconds = (time.monotonic() - attaching) / len(pods)
            if len(pods) >= MANY_PODS:
                self.pod_memory_kib = (kernel_memory_kib() - before) / len(pods)
            if self.plugging:
                self.places.change(self.plugging.completed())  # From now on the plan includes the plugins' objects.
                if wrong := self.plugging.mismatched():
                    raise NotAttached(wrong)
            self.programs.start(items(pods))
            for name, host in self.hosts.items():
                introduce(host, self.plan[name], self.plan)
        except BaseException as error:
            failed = self.down()
            if failed and isinstance(error, PlanRefused):
                raise PlanRefused("\n".join((str(error), *failed))) from error
            raise

    @property
    def plan(self) -> Plan:
        """The current plan, with the objects of CNI plugins."""
        return self.places.plan

    @property
    def hosts(self) -> dict[str, Host]:
        """The Mininet hosts, by place."""
        return self.places.hosts

    @property
    def namespaces(self) -> dict[str, Namespace]:
        """The network namespaces, by place."""
        return self.places.namespaces

    def _runtime(self, plan: Plan) -> "Plugging":
        """A container runtime, which attaches pods by CNI plugins."""
        from testbed.lab.plugging import Plugging  # It takes a tenth of a second to load, and most labs do not need it.

        pids = {name: host.pid for name, host in self.hosts.items()}
        return Plugging(plan, self.namespaces, pids, self._calls)

    def _start_hosts(self, names: Sequence[str]) -> None:
        """Starts a Mininet host for each name, several at a time: each mostly waits for its shell's first prompt."""
        with ThreadPoolExecutor(HOSTS_AT_A_TIME) as pool:
            # Each is registered as soon as it runs, so that it also ends if the build fails.
            for starting in [pool.submit(self.places.add_host, name) for name in names]:
                starting.result()

    def _run_programs(self) -> None:
        """Starts the programs of nodes and routers, and waits for their learned routes."""
        begin = time.monotonic()
        others = [space for space in self.plan.spaces if space.kind is not Kind.POD]
        self.programs.start(items(others))
        if any(space.learned for space in others):
            self.programs.converge(self.plan)
            self.convergence_seconds = time.monotonic() - begin

    def change(self, plan: Plan) -> tuple[Change, ...]:
        """Changes the lab to another plan, and returns the changes. Objects that are equal in both are not touched.

        Raises NotAttached if plugins failed; all else is then as planned. Raises PlanRefused, OSError; the change may
        then be incomplete, and `inspect` lists differences from the new plan.
        """
        old, self.drawn = self.drawn, plan
        applied = Applied(old, plan)
        fresh = [space for space in applied.coming if space.kind is not Kind.POD]
        unattached: dict[str, str] = {}
        with self.programs.changing(old, plan):
            failed = self.plugging.leave(plan) if self.plugging else ()
            applied.remove(self.namespaces)
            for name in applied.going:
                self.places.remove(name)
            if self.plugging and self.plugging.has_left_interfaces:
                await_freed()  # The plan is completed with what nodes have, which must not include other ends of them.
            self._start_hosts([space.name for space in fresh if space.kind is not Kind.CABLE])
            for space in fresh:
                if space.kind is Kind.CABLE:
                    self.namespaces[space.name] = Namespace.create()
            self.places.change(plan)
            applied.make(self.namespaces, self.places.roots())
            if plan.plugged and self.plugging is None:
                self.plugging = self._runtime(old)
            if self.plugging:
                unattached = self.plugging.follow(plan, {name: host.pid for name, host in self.hosts.items()})
        if self.plugging:
            self.places.change(self.plugging.completed())
            unattached |= self.plugging.mismatched()
        self._announce(space.name for space in applied.coming if space.kind is Kind.POD)
        for name in applied.spaces:
            if name in self.hosts:
                introduce(self.hosts[name], self.plan[name], self.plan)
        if failed or unattached:
            raise NotAttached(unattached, failed)
        return applied.changes

    def _announce(self, pods: Iterable[str]) -> None:
        """Announces the addresses of new pods, which may have belonged to earlier pods."""
        announce(
            (self.namespaces[pod], [(item.dev, item.interface) for item in self.plan[pod].of(DeviceAddress)])
            for pod in pods
        )

    def ended(self) -> tuple[Ended, ...]:
        """The programs of the plan that have ended."""
        return self.programs.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def start(
        self,
        place: str,
        command: Sequence[str],
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a pod or on a node, with a separate process group and empty standard input."""
        return self.places.start(place, command, stdout, stderr, environment)

    def run(self, place: str, command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a program in a place to completion; see `Places.run`."""
        return self.places.run(place, command, given)

    def unplug(self) -> tuple[str, ...]:
        """Detaches pods by CNI plugins, within a time limit (see `testbed.lab.plugging`). Returns the errors."""
        return self.plugging.remove_all() if self.plugging is not None else ()

    def down(self) -> tuple[str, ...]:
        """Detaches pods, ends all programs and releases the namespaces. Returns errors of CNI plugins.

        May be called twice, and on a partially built lab.
        """
        failed = self.unplug()
        self.programs.down()
        self.places.close()
        return failed
