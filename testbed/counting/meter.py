"""What is counted, and the program that counts it (meter.c), which runs at both ends of a path."""

import hashlib
import platform
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from testbed.kernel.bpf import cache

SOURCE = Path(__file__).with_name("meter.c")
UNIT = "instructions"
DIFFERING = 0.005
"""A count differs from the minimum if it is larger by more than this fraction."""
_COMPILER = ("clang", "-O2", "-static")
_PATIENCE_S = 120
LIMIT_S = 600
"""Time limit of a measurement, by the clock that counts instructions: 600 thousand million of them."""

Counts = npt.NDArray[np.int64]


class MeterFailed(Exception):
    """The program could not be built, or gave no counts. The message says why."""


@dataclass(frozen=True)
class Mode:
    """One thing to count."""

    metric: str
    mode: str
    """The mode of meter.c."""
    size: int
    """Bytes of a request, and of its answer; of `bulk`, of a transfer."""
    times: int
    offload: bool = True
    average: bool = False
    """Take the mean of the counts, not the median: they have several likely values."""
    one_way: bool = False
    """Count until the request arrives."""


MODES = (
    Mode("icmp_instructions", "icmp", 64, 200),
    Mode("udp_64_instructions", "udp", 64, 200),
    Mode("udp_1024_instructions", "udp", 1024, 200),
    Mode("tcp_64_instructions", "tcp", 64, 200),
    Mode("tcp_1024_instructions", "tcp", 1024, 200),
    Mode("connect_instructions", "connect", 64, 100),
    Mode("packet_instructions", "udp", 64, 200, one_way=True),
    Mode("bulk_instructions", "bulk", 1_000_000, 24, average=True),
    Mode("bulk_no_offload_instructions", "bulk", 1_000_000, 24, offload=False),
)
"""Everything that is counted on a path. The metric's title and direction are in `testbed.report.metrics`."""

TRACED = Mode("tcp_64_instructions", "tcp", 64, 40)
"""What is traced function by function."""


@dataclass(frozen=True)
class Counted:
    """The counts of one mode in one round."""

    typical: float
    """The median or, where the mode says so, the mean."""
    minimum: float
    differing: float
    """How many of them exceed the minimum by more than DIFFERING, 0 to 100 %."""
    own: float
    """What the program itself executed at both ends; already subtracted."""


def counted(output: str, mode: Mode) -> Counted:
    """The counts in the output of `meter ask`: lines of total, own, and one way. Raises MeterFailed without lines."""
    lines = np.array([line.split() for line in output.splitlines()], dtype=np.int64)
    if lines.ndim != 2:
        raise MeterFailed("meter printed no counts")
    # The median: an interrupt while the program itself runs would count as its own.
    own = 0.0 if mode.one_way else float(np.median(lines[:, 1]))
    counts = (lines[:, 2] if mode.one_way else lines[:, 0]) - own
    least = float(counts.min())
    differing = float((counts > least * (1 + DIFFERING)).mean() * 100)
    typical = counts.mean() if mode.average else np.median(counts)
    return Counted(float(typical), least, differing, own)


def build() -> Path:
    """The program, compiled again if its source or the compiler have changed. Raises MeterFailed, OSError."""
    folder = cache("meter")
    version = subprocess.run(["clang", "--version"], capture_output=True, timeout=_PATIENCE_S).stdout
    content = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), version, " ".join(_COMPILER).encode()])).hexdigest()
    file = folder / f"meter-{platform.machine()}-{content[:32]}"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            fresh = Path(draft, "meter")
            command = [*_COMPILER, "-o", str(fresh), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
            if done.returncode:
                raise MeterFailed(f"clang cannot compile {SOURCE.name} (with the headers of libc6-dev):\n{done.stderr}")
            fresh.rename(file)  # Atomic, if another process compiles the same.
    return file
