"""netperf: request-response, connect-request-response, or bulk; a further driver where it is installed.

Its own percentiles of latency are of a histogram that it keeps to itself, whose values cannot be pooled with those of
other rounds: they are kept with its output and are not reported.
"""

from dataclasses import dataclass

from testbed.probes.probe import Ends, Measurement, ProbeError, Value
from testbed.spec.probes import NetperfProbe

NAME = "netperf"
SERVER = "netserver"
PORT = 7485
CRR_LINGERS_S = 4.0
"""In TCP_CRR netserver waits in accept() until its alarm, which it sets to so much more than the test's time."""
BULK_MESSAGE = 128 * 1024
SELECTED = (
    "THROUGHPUT,THROUGHPUT_UNITS,ELAPSED_TIME,PROTOCOL,DIRECTION,REQUEST_SIZE,RESPONSE_SIZE,LOCAL_SEND_SIZE,"
    "MIN_LATENCY,MEAN_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,MAX_LATENCY,"
    "LOCAL_TRANSPORT_RETRANS,REMOTE_TRANSPORT_RETRANS,TRANSPORT_MSS"
)
"""What netperf is asked to print of its 'omni' results."""
STALLED = 0.9
"""Transactions that fill less than this part of the time were stopped by something."""


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
        """Transactions a second; or of tcp_stream Gbit/s of payload."""
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
    """Transactions a second, from what netperf prints of a request-response test.

    netperf sends nothing again: after one datagram is lost, UDP_RR waits for its answer to the end. Its rate then is
    none, which shows in latencies that do not add up to the time.
    """
    rate, seconds, latency = _numbers(output, "Trans/s", "THROUGHPUT", "ELAPSED_TIME", "MEAN_LATENCY")
    if rate <= 0:
        raise ProbeError("netperf completed no transaction")
    if rate * latency / 1e6 < STALLED:
        raise ProbeError("netperf waited in vain for an answer: it sends nothing again that is lost")
    return Measurement((Value("transactions", "1/s", rate),), requests=round(rate * seconds))


def throughput(output: str) -> Measurement:
    """Gbit/s of payload, from what netperf prints of a bulk test."""
    megabits, seconds = _numbers(output, "10^6bits/s", "THROUGHPUT", "ELAPSED_TIME")
    if megabits <= 0:
        raise ProbeError("netperf carried nothing")
    gbits = megabits / 1e3
    return Measurement((Value("throughput", "Gbit/s", gbits),), carried_gbit=gbits * seconds)


def _numbers(output: str, unit: str, *names: str) -> list[float]:
    """The named numbers of lines such as `THROUGHPUT=15975.90`, where the throughput has this unit."""
    found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    if found.get("THROUGHPUT_UNITS") != unit:
        raise ProbeError(f"netperf's unit is {found.get('THROUGHPUT_UNITS', 'not told')} instead of {unit}")
    try:
        return [float(found[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise ProbeError(f"netperf's output lacks a number: {error}") from error
