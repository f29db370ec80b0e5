"""netperf: request-response, connect-request-response, or bulk transfer, if it is installed.

Its latency percentiles are of an internal histogram, whose values cannot be pooled with those of other rounds. They are
kept in its raw output and not reported.
"""

from dataclasses import dataclass

from testbed.probes.probe import Ends, Measurement, ProbeError, Value
from testbed.spec.probes import NetperfProbe

NAME = "netperf"
SERVER = "netserver"
PORT = 7485
CRR_LINGERS_S = 4.0
"""In TCP_CRR, netserver waits in accept() until its alarm, this long after the end of the test."""
BULK_MESSAGE = 128 * 1024
SELECTED = (
    "THROUGHPUT,THROUGHPUT_UNITS,ELAPSED_TIME,PROTOCOL,DIRECTION,REQUEST_SIZE,RESPONSE_SIZE,LOCAL_SEND_SIZE,"
    "MIN_LATENCY,MEAN_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,MAX_LATENCY,"
    "LOCAL_TRANSPORT_RETRANS,REMOTE_TRANSPORT_RETRANS,TRANSPORT_MSS"
)
"""The 'omni' results that netperf prints."""
STALLED = 0.9
"""If transactions fill less than this fraction of the time, the test stalled."""


@dataclass(frozen=True)
class Netperf:
    spec: NetperfProbe

    tools = (NAME, SERVER)

    @property
    def together(self) -> bool:
        return self.spec.test != "tcp_stream"

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds() + (CRR_LINGERS_S if self.spec.test == "tcp_crr" else 0.0)

    def measure(self, ends: Ends) -> Measurement:
        """Transactions per second; for tcp_stream, Gbit/s of payload."""
        bulk = self.spec.test == "tcp_stream"
        address, family = str(ends.address), f"-{ends.address.version}"
        # -N: no file under /tmp.
        ends.serve([SERVER, "-D", "-N", family, "-L", address, "-p", str(PORT)], PORT)
        size = self.spec.message or (BULK_MESSAGE if bulk else 1)
        test = ["-t", self.spec.test.upper(), "-l", f"{self.spec.duration.total_seconds():.0f}", "-P", "0"]
        sizes = ["-m", str(size)] if bulk else ["-r", f"{size},{size}"]
        where = [family, "-H", address, "-p", str(PORT)]
        client = ends.start(ends.source, [NAME, *where, *test, "--", *sizes, "-k", SELECTED])
        output = ends.finish(client, NAME, self.seconds).decode()
        return throughput(output) if bulk else transactions(output)


def transactions(output: str) -> Measurement:
    """Transactions per second, from netperf's output of a request-response test.

    netperf does not retransmit: after the loss of one datagram, UDP_RR waits for its answer until the end, and the rate
    is wrong. Then the latencies do not add up to the time, and ProbeError is raised.
    """
    rate, seconds, latency = _numbers(output, "Trans/s", "THROUGHPUT", "ELAPSED_TIME", "MEAN_LATENCY")
    if rate <= 0:
        raise ProbeError("netperf completed no transaction")
    if rate * latency / 1e6 < STALLED:
        raise ProbeError("netperf stalled: a request or answer was lost, and netperf does not retransmit")
    return Measurement((Value("transactions", "1/s", rate),), requests=round(rate * seconds))


def throughput(output: str) -> Measurement:
    """Gbit/s of payload, from netperf's output of a bulk test."""
    megabits, seconds = _numbers(output, "10^6bits/s", "THROUGHPUT", "ELAPSED_TIME")
    if megabits <= 0:
        raise ProbeError("netperf transferred nothing")
    gbits = megabits / 1e3
    return Measurement((Value("throughput", "Gbit/s", gbits),), carried_gbit=gbits * seconds)


def _numbers(output: str, unit: str, *names: str) -> list[float]:
    """The named numbers in lines such as `THROUGHPUT=15975.90`. Raises ProbeError if the unit differs."""
    found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    if found.get("THROUGHPUT_UNITS") != unit:
        raise ProbeError(f"netperf's unit: expected {unit}, found {found.get('THROUGHPUT_UNITS', 'none')}")
    try:
        return [float(found[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise ProbeError(f"netperf's output lacks a number: {error}") from error
