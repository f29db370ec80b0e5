"""Shared parts of probes: two ends in a lab, programs that are always ended, and results."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from testbed.kernel.cpu import CpuTimes, cpu_times
from testbed.lab.lab import Lab
from testbed.plan.objects import Plan
from testbed.probes.placement import Placement
from testbed.spec.types import Address

START_PATIENCE_S = 3.0
"""Maximum time until a server listens."""
END_PATIENCE_S = 10.0
"""Maximum time of a client beyond its measuring time."""
HOLD_AFTER_S = 0.5
"""Time after which a program that sleeps before it begins is assumed to be asleep."""
_LISTEN = "0A"
_UDP_BOUND = "07"


class ProbeError(Exception):
    """A probe gave no value. The message says why."""


@dataclass(frozen=True)
class Value:
    """One number, such as ("throughput", "Gbit/s", 9.3)."""

    metric: str
    unit: str
    value: float


@dataclass(frozen=True)
class Distribution:
    """The single values of a metric, from which percentiles are taken."""

    metric: str
    unit: str
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """The results of one run of a probe."""

    values: tuple[Value, ...]
    distributions: tuple[Distribution, ...] = ()
    carried_gbit: float | None = None
    """Payload that crossed the path, for probes of throughput; CPU time is divided by it."""
    requests: int | None = None
    """Number of answered requests, for probes of requests; CPU time is divided by it."""


@dataclass
class Held:
    """A stopped program that sleeps before it begins. Times are by the monotonic clock."""

    process: subprocess.Popen[bytes]
    started: float
    wakes: float
    """When its sleep is over."""


@dataclass
class Ends:
    """The two ends of a path in a lab, and the programs that a probe runs there.

    As a context manager it ends all programs that are still running on exit.
    """

    lab: Lab
    source: str
    target: str
    scratch: Path
    """A folder for files that programs write."""
    cpus: Placement
    """The CPUs that programs at the source and at the target are bound to."""
    clock: Callable[[], CpuTimes] = cpu_times
    began: CpuTimes | None = None
    """The machine's CPU time when the first program was started."""
    ended: CpuTimes | None = None
    """The machine's CPU time when the last awaited program ended, before its output was parsed."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """Output of the programs by name, also kept if the probe fails."""
    files: dict[str, Path] = field(default_factory=dict)
    """Files in `scratch` that may be too large for memory, by name; also kept if the probe fails."""
    held: Held | None = None
    """The program that was started ahead; see `StartsAhead`."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()

    def end_all(self) -> None:
        """Kill all programs that are still running."""
        while self._running:
            process = self._running.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.held = None

    @property
    def address(self) -> Address:
        """The address by which the source reaches the target."""
        return reached_by(self.lab.plan, self.source, self.target)

    def start(self, place: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program at the source or the target, on that end's CPUs."""
        cpus = self.cpus.source if place == self.source else self.cpus.target
        bound = ["taskset", "--cpu-list", cpus] if cpus else []
        self.began = self.began or self.clock()
        try:
            process = self.lab.start(place, [*bound, *command])
        except FileNotFoundError as error:
            raise ProbeError(f"{error.filename} is not installed") from error
        self._running.append(process)
        return process

    def serve(self, command: Sequence[str], port: int, protocol: str = "tcp") -> subprocess.Popen[bytes]:
        """Start a server at the target and wait until it listens. Raises ProbeError if it ends or does not listen."""
        server = self.start(self.target, command)
        deadline = time.monotonic() + START_PATIENCE_S
        while not _listening(server.pid, port, protocol):
            if server.poll() is not None:
                output, errors = server.communicate()
                raise ProbeError(f"{command[0]} server ended at once: {_error_line(errors or output)}")
            if time.monotonic() > deadline:
                raise ProbeError(f"{command[0]} server did not listen within {START_PATIENCE_S:.0f} s")
            time.sleep(0.005)
        return server

    def resume(self) -> subprocess.Popen[bytes]:
        """Resume the held program when its sleep is over. CPU time counts from here."""
        assert self.held
        time.sleep(max(0, self.held.wakes - time.monotonic()))
        self.began = self.clock()
        self.held.process.send_signal(signal.SIGCONT)
        return self.held.process

    def finish(self, process: subprocess.Popen[bytes], name: str, seconds: float) -> bytes:
        """Wait for a program that should take `seconds`; keep its output and return its standard output.

        Raises ProbeError if it times out or fails.
        """
        try:
            output, errors = process.communicate(timeout=seconds + END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{name} did not end within {seconds + END_PATIENCE_S:.0f} s") from None
        self.ended = self.clock()
        self.raw[name] = output + errors
        if process.returncode != 0:
            raise ProbeError(f"{name} failed with exit code {process.returncode}: {_error_line(errors or output)}")
        return output


def reached_by(plan: Plan, source: str, target: str) -> Address:
    """The target's address for the source: IPv4 if both have it, because not all tools support IPv6."""
    families = {address.version for address in plan[source].reached_at}
    for address in sorted(plan[target].reached_at, key=lambda address: address.version):
        if address.version in families:
            return address
    raise ProbeError(f"{source} and {target} have no address family in common")


class Probe(Protocol):
    """One measuring program with its options."""

    @property
    def together(self) -> bool:
        """Whether both ends share one CPU; see `testbed.probes.placement`."""
        ...

    @property
    def seconds(self) -> float:
        """How long its programs run."""
        ...

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that it starts, as named in `testbed.kernel.programs`."""
        ...

    def measure(self, ends: Ends) -> Measurement:
        """Measure once from source to target. Raises ProbeError if there is no value."""
        ...


@runtime_checkable
class StartsAhead(Protocol):
    """A probe whose program sleeps before it begins. Programs of several trials can sleep at the same time."""

    @property
    def lead(self) -> float:
        """The seconds that it sleeps, included in `seconds`; 0 if it should not be started ahead."""
        ...

    def start_ahead(self, ends: Ends) -> None:
        """Start it as `ends.held`; `measure` then resumes it. Raises ProbeError if it cannot be started."""
        ...


def start_ahead(staged: Sequence[tuple[Probe, Ends]]) -> None:
    """Start the programs of probes that sleep before they begin, and stop each until its probe measures.

    A program that could not be started, or not stopped while it surely slept, is started when its probe measures;
    errors are then reported by that probe.
    """
    ahead = [(probe, ends) for probe, ends in staged if isinstance(probe, StartsAhead) and probe.lead]
    for probe, ends in ahead:
        try:
            probe.start_ahead(ends)
        except (ProbeError, OSError):
            ends.end_all()
    for probe, ends in ahead:
        if held := ends.held:
            time.sleep(max(0, held.started + HOLD_AFTER_S - time.monotonic()))
            held.process.send_signal(signal.SIGSTOP)
            # Wait until it has stopped or ended; WNOWAIT keeps its exit code available.
            os.waitid(os.P_PID, held.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if time.monotonic() > held.started + probe.lead - HOLD_AFTER_S:
                ends.end_all()


def _error_line(text: bytes) -> str:
    """The first line of a program's output that looks like an error, else the last line.

    A line that begins with a space continues the previous one: sockperf prints errno there.
    """
    lines = re.sub(r"\n(?=[ \t])", "", text.decode(errors="replace").strip()).splitlines()
    errors = [line for line in lines if any(word in line.lower() for word in ("error", "invalid", "fail", "unable"))]
    return (errors or lines[-1:] or ["no output"])[0].strip()


def _listening(pid: int, port: int, protocol: str) -> bool:
    """Whether a socket in the process's namespace listens on the port. Reads /proc, so servers are not disturbed."""
    state = _LISTEN if protocol == "tcp" else _UDP_BOUND
    for table in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:  # The process has ended, or the kernel has no IPv6.
            continue
        for line in lines:
            local, _, actual = line.split()[1:4]
            if actual == state and int(local.rpartition(":")[2], 16) == port:
                return True
    return False
