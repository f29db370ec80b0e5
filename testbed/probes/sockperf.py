"""sockperf: request-response latency. One message at a time is answered before the next is sent.

Full round trips and a full log are asked for, so that percentiles come from every single value. sockperf itself leaves
out the first 400 ms and the last 50 ms, and sleeps for two seconds before it begins.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.probes.probe import Distribution, Ends, Measurement, ProbeError, Value
from testbed.spec.scenario import SockperfProbe

NAME = "sockperf"
PORT = 7473
SLEEP_S = 2.0
"""sockperf sleeps so long before it sends anything, whatever its options say."""
PERCENTILES = (50.0, 90.0, 99.0)
TAIL_PERCENTILE = 99.9
TAIL_NEEDS = 10_000
"""So many values at least must stand behind the 99.9th percentile: ten above it."""


@dataclass(frozen=True)
class Sockperf:
    spec: SockperfProbe

    together = True

    @property
    def seconds(self) -> float:
        return SLEEP_S + self.spec.duration.total_seconds()

    def measure(self, ends: Ends) -> Measurement:
        """RTT percentiles in microseconds, and how many round trips they are of."""
        log = ends.scratch / "sockperf.csv"
        protocol = self.spec.protocol
        common = ["-i", str(ends.address), "-p", str(PORT), *(["--tcp"] if protocol == "tcp" else [])]
        ends.serve([NAME, "server", *common], PORT, protocol)
        size, seconds = str(self.spec.message), f"{self.spec.duration.total_seconds():.0f}"
        options = ["-m", size, "-t", seconds, "--full-rtt", "--full-log", str(log)]
        client = ends.start(ends.source, [NAME, "ping-pong", *common, *options])
        ends.finish(client, NAME, self.seconds)
        try:
            ends.raw["sockperf.csv"] = log.read_bytes()
        except FileNotFoundError:
            raise ProbeError("sockperf wrote no log") from None
        rtts = round_trips(ends.raw["sockperf.csv"].decode())
        return Measurement(tuple(_values(rtts)), (Distribution("rtt", "us", rtts),))


def round_trips(log: str) -> npt.NDArray[np.float64]:
    """The round-trip times of a full log, in microseconds, in the order of the requests."""
    _, header, rows = log.partition("packet, txTime(sec), rxTime(sec), rtt(usec)\n")
    table, _, _ = rows.partition("-----")
    if not header or not table.strip():
        raise ProbeError("sockperf counted no round trip")
    columns = np.loadtxt(io.StringIO(table), delimiter=",", ndmin=2)
    return np.asarray(columns[:, 3], dtype=np.float64)


def _values(rtts: npt.NDArray[np.float64]) -> list[Value]:
    wanted = [*PERCENTILES, *([TAIL_PERCENTILE] if len(rtts) >= TAIL_NEEDS else [])]
    # An actual value of the sample, not one in between two of them.
    found = np.percentile(rtts, wanted, method="inverted_cdf")
    percentiles = [Value(f"rtt_p{q:g}", "us", float(value)) for q, value in zip(wanted, found, strict=True)]
    return [*percentiles, Value("messages", "count", float(len(rtts)))]
