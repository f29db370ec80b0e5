"""sockperf: request-response latency. Each message is answered before the next one is sent.

Full round trips and a full log are requested, so that percentiles are of all single values. sockperf omits the first
400 ms and the last 50 ms, and sleeps for two seconds before it begins. To avoid this wait in each trial, the clients of
several trials are started ahead: they sleep at the same time, are stopped (SIGSTOP) before they wake up, and are
resumed one after the other. A stopped client and its waiting server use no CPU time.
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
"""sockperf sleeps this long before it sends anything; no option changes it."""
LONGEST_AHEAD_S = 30
"""Maximum duration of clients that are started ahead: a stopped client keeps its memory, which grows with duration."""
MOST_PER_S = 100_000
"""sockperf allocates 16 bytes for each message that it could send, and fills them before it begins. With its default of
600,000 per second these are 5.8 GB for ten minutes. A round trip between two namespaces takes at least 10 us."""
HEADING = b"packet, txTime(sec), rxTime(sec), rtt(usec)\n"
RULE = b"-" * 30 + b"\n"
"""The last line of a complete log."""


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
        """Start server and client."""
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
        """RTT percentiles in microseconds, and the number of round trips."""
        log = ends.scratch / LOG
        ends.finish(ends.resume() if ends.held else self._start(ends), NAME, self.seconds)
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
    """The round-trip times in a full log, in microseconds, in the order of the requests.

    A log of ten minutes has a gigabyte, so it is read line by line, and only this column is kept. Raises ProbeError if
    it is incomplete or empty.
    """
    with log.open("rb") as file:
        if HEADING not in file:  # If found, the file position is after it.
            raise ProbeError("sockperf logged no round trip")
        rows = file.tell()
        file.seek(max(rows, log.stat().st_size - len(RULE)))
        if file.read() != RULE:
            raise ProbeError("sockperf's log is incomplete")
        file.seek(rows)
        if file.readline() == RULE:
            raise ProbeError("sockperf logged no round trip")
        file.seek(rows)
        try:
            return np.loadtxt(file, dtype=np.float64, delimiter=",", usecols=3, comments="-", ndmin=1)
        except ValueError as error:
            raise ProbeError(f"sockperf's log cannot be read: {error}") from error
