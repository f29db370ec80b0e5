"""sockperf: request-response latency. One message at a time is answered before the next is sent.

Full round trips and a full log are asked for, so that percentiles come from every single value. sockperf itself leaves
out the first 400 ms and the last 50 ms, and sleeps for two seconds before it begins. So that those need not be waited
for in each trial it can be started ahead: it then sleeps beside others, all of them stopped (SIGSTOP) before any of
them wakes, and goes on when it is its turn. A stopped client and its waiting server use no CPU time at all.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from testbed.probes.percentiles import percentiles
from testbed.probes.probe import Distribution, Ends, Held, Measurement, ProbeError, Value
from testbed.spec.probes import SockperfProbe

NAME = "sockperf"
PORT = 7473
LOG = "sockperf.csv"
SLEEP_S = 2.0
"""sockperf sleeps so long before it sends anything, whatever its options say."""
LONGEST_AHEAD_S = 30
"""Each client that is held has its memory already; longer ones, of which each has more, begin one at a time."""
MOST_PER_S = 100_000
"""sockperf sets 16 bytes aside for each message that it could send, and fills them before it begins. At its own limit
of 600,000 a second those are 5.8 GB for ten minutes; no round trip over two namespaces takes less than 10 us."""
HEADING = b"packet, txTime(sec), rxTime(sec), rtt(usec)\n"
RULE = b"-" * 30 + b"\n"
"""What the log ends with."""


@dataclass(frozen=True)
class Sockperf:
    spec: SockperfProbe

    together = True
    tools = (NAME,)

    @property
    def seconds(self) -> float:
        return SLEEP_S + self.spec.duration.total_seconds()

    @property
    def lead(self) -> float:
        return SLEEP_S if self.spec.duration.total_seconds() <= LONGEST_AHEAD_S else 0

    def start_ahead(self, ends: Ends) -> None:
        started = time.monotonic()
        ends.held = Held(self._start(ends), started, started + SLEEP_S)

    def _start(self, ends: Ends) -> subprocess.Popen[bytes]:
        """Starts server and client."""
        protocol = self.spec.protocol
        common = ["-i", str(ends.address), "-p", str(PORT), *(["--tcp"] if protocol == "tcp" else [])]
        ends.serve([NAME, "server", *common], PORT, protocol)
        size, seconds = str(self.spec.message), f"{self.spec.duration.total_seconds():.0f}"
        options = [
            "-m",
            size,
            "-t",
            seconds,
            "--mps",
            str(MOST_PER_S),
            "--full-rtt",
            "--full-log",
            str(ends.scratch / LOG),
        ]
        return ends.start(ends.source, [NAME, "ping-pong", *common, *options])

    def measure(self, ends: Ends) -> Measurement:
        """RTT percentiles in microseconds, and how many round trips they are of."""
        log = ends.scratch / LOG
        ends.finish(ends.let_go() if ends.held else self._start(ends), NAME, self.seconds)
        if not log.exists():
            raise ProbeError("sockperf wrote no log")
        ends.files[log.name] = log
        rtts = round_trips(log)
        return Measurement(
            (*percentiles("rtt", "us", rtts), Value("messages", "count", float(len(rtts)))),
            (Distribution("rtt", "us", rtts),),
            requests=len(rtts),
        )


def round_trips(log: Path) -> npt.NDArray[np.float64]:
    """The round-trip times of a full log, in microseconds, in the order of the requests.

    A log of ten minutes is a gigabyte: it is read line by line, and only that one column is kept.
    """
    with log.open("rb") as file:
        if HEADING not in file:  # Having found it, the file stands behind it.
            raise ProbeError("sockperf counted no round trip")
        rows = file.tell()
        file.seek(max(rows, log.stat().st_size - len(RULE)))
        if file.read() != RULE:
            raise ProbeError("sockperf's log was cut short")
        file.seek(rows)
        if file.readline() == RULE:
            raise ProbeError("sockperf counted no round trip")
        file.seek(rows)
        try:
            return np.loadtxt(file, dtype=np.float64, delimiter=",", usecols=3, comments="-", ndmin=1)
        except ValueError as error:
            raise ProbeError(f"sockperf's log cannot be read: {error}") from error
