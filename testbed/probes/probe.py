"""What probes have in common: two ends in a lab, programs that are always ended, and what comes out."""

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
"""How long a server may take until it listens."""
END_PATIENCE_S = 10.0
"""How long a client may take beyond the time that it was asked to measure."""
HOLD_AFTER_S = 0.5
"""How long after its start a program is taken to be asleep that sleeps before it begins."""
_LISTEN = "0A"
_UDP_BOUND = "07"


class ProbeError(Exception):
    """A probe gave no number; says why."""


@dataclass(frozen=True)
class Value:
    """One number, such as ("throughput", "Gbit/s", 9.3)."""

    metric: str
    unit: str
    value: float


@dataclass(frozen=True)
class Distribution:
    """Every single value behind some percentiles."""

    metric: str
    unit: str
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """What one run of a probe gave."""

    values: tuple[Value, ...]
    distributions: tuple[Distribution, ...] = ()
    carried_gbit: float | None = None
    """How much payload crossed the path, where the probe is about that; what its CPU time is counted against."""
    requests: int | None = None
    """How many requests were answered, where the probe is about that."""


@dataclass
class Held:
    """A program that sleeps before it begins, and when, on the monotonic clock, it was started."""

    process: subprocess.Popen[bytes]
    started: float
    wakes: float
    """When it will have slept enough."""


@dataclass
class Ends:
    """The two ends of a path in a lab, and the programs that a probe runs there.

    As a context manager it ends every program that is still running when the block is left.
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
    """And when the last one that was waited for had ended; reading what they printed comes after."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """What the programs printed, by name, kept also when the probe fails."""
    files: dict[str, Path] = field(default_factory=dict)
    """What they wrote to files in `scratch` that may be too large to hold, by name; kept likewise."""
    held: Held | None = None
    """The program that was started ahead, see `StartsAhead`."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()

    def end_all(self) -> None:
        """Ends every program that is still running."""
        while self._running:
            process = self._running.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.held = None

    @property
    def address(self) -> Address:
        """Where the source reaches the target."""
        return reached_by(self.lab.plan, self.source, self.target)

    def start(self, place: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts a program at the source or the target, on that end's CPU."""
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
        """Starts a server at the target and waits until it listens."""
        server = self.start(self.target, command)
        deadline = time.monotonic() + START_PATIENCE_S
        while not _listening(server.pid, port, protocol):
            if server.poll() is not None:
                output, errors = server.communicate()
                raise ProbeError(f"{command[0]} server ended at once: {_telling_line(errors or output)}")
            if time.monotonic() > deadline:
                raise ProbeError(f"{command[0]} server did not listen within {START_PATIENCE_S:.0f} s")
            time.sleep(0.005)
        return server

    def let_go(self) -> subprocess.Popen[bytes]:
        """Lets the program go on that was held, once it has slept enough. What CPU time it takes counts from here."""
        assert self.held
        time.sleep(max(0, self.held.wakes - time.monotonic()))
        self.began = self.clock()
        self.held.process.send_signal(signal.SIGCONT)
        return self.held.process

    def finish(self, process: subprocess.Popen[bytes], name: str, seconds: float) -> bytes:
        """Waits for a program that should take so many seconds, keeps and returns what it printed."""
        try:
            output, errors = process.communicate(timeout=seconds + END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{name} did not end within {seconds + END_PATIENCE_S:.0f} s") from None
        self.ended = self.clock()
        self.raw[name] = output + errors
        if process.returncode != 0:
            raise ProbeError(f"{name} failed with exit code {process.returncode}: {_telling_line(errors or output)}")
        return output


def reached_by(plan: Plan, source: str, target: str) -> Address:
    """Where the source reaches the target: by IPv4 if both have it, since not every tool knows IPv6."""
    families = {address.version for address in plan[source].reached_at}
    for address in sorted(plan[target].reached_at, key=lambda address: address.version):
        if address.version in families:
            return address
    raise ProbeError(f"{source} and {target} have no address family in common")


class Probe(Protocol):
    """One measuring program, told what to measure."""

    @property
    def together(self) -> bool:
        """Whether both ends are to share one CPU, see `testbed.probes.placement`."""
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
        """Measures once from source to target. Raises ProbeError where there is no number to be had."""
        ...


@runtime_checkable
class StartsAhead(Protocol):
    """A probe whose program sleeps before it begins, which it may do while the ones of other trials do so as well."""

    @property
    def lead(self) -> float:
        """The seconds that it sleeps, a part of the probe's; 0 if it should not be started ahead."""
        ...

    def start_ahead(self, ends: Ends) -> None:
        """Starts it, as `ends.held`. `measure` then lets it go on. Raises ProbeError where that cannot be done."""
        ...


def start_ahead(staged: Sequence[tuple[Probe, Ends]]) -> None:
    """Starts the programs of probes that sleep before they begin, and holds each until its probe measures.

    A program that has not been started, or that could not be held while it slept for certain, is started when its probe
    measures; whatever is wrong with it will be told then.
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
            # Until it has stopped, or ended; WNOWAIT leaves its exit code to whoever asks for it later.
            os.waitid(os.P_PID, held.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if time.monotonic() > held.started + probe.lead - HOLD_AFTER_S:
                ends.end_all()


def _telling_line(text: bytes) -> str:
    """The line of a program's output that says what went wrong, as far as one can tell: else its last.

    A line that begins with a space goes on with the one before: sockperf puts errno there.
    """
    lines = re.sub(r"\n(?=[ \t])", "", text.decode(errors="replace").strip()).splitlines()
    telling = [line for line in lines if any(word in line.lower() for word in ("error", "invalid", "fail", "unable"))]
    return (telling or lines[-1:] or ["it said nothing"])[0].strip()


def _listening(pid: int, port: int, protocol: str) -> bool:
    """Whether a socket of the process's namespace listens there; asking the kernel disturbs no server."""
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
