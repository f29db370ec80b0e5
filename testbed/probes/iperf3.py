"""iperf3: bulk throughput of TCP, and what arrives of UDP that is offered at given rates.

Each stream is a client and a server process of its own on a port of its own: iperf3 up to 3.15 serves all streams of
one process with one thread, so many streams in one process would measure that thread instead of the network.

Each number is taken from the report of the end that saw it: what arrived from the receiver's, what had to be sent again
from the sender's.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from testbed.probes.probe import Ends, Measurement, ProbeError, Value
from testbed.spec.probes import Iperf3Probe
from testbed.spec.types import rate_text

NAME = "iperf3"
FIRST_PORT = 7500
IP_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
TCP_HEADER = 20 + 12
"""With the time stamps that Linux puts into every segment."""
UDP_BUFFER = 2 * 1024**2
"""Bytes asked for at either socket. The usual ones hold a millisecond of datagrams: whenever the receiver had to wait
that long for its CPU, the loss would be called the network's."""
ON_THE_WAY_S = 0.25
"""No datagram is longer than this on its way from end to end."""
AS_FAST_AS_IT_GOES = 0
"""Bits per second, in the words of iperf3's --bitrate."""

Report = dict[str, Any]
"""What one iperf3 process prints with --json."""


@dataclass(frozen=True)
class Iperf3:
    spec: Iperf3Probe

    together = False
    tools = (NAME,)

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds() * max(len(self.spec.rates), 1)

    def measure(self, ends: Ends) -> Measurement:
        """TCP: Gbit/s of payload that arrived, segments sent again, and the MSS.

        UDP: for each rate in turn, the loss in percent and the Gbit/s of payload that arrived; and the most datagrams
        that arrived in a second at any of the rates.
        """
        return self._bulk(ends) if self.spec.protocol == "tcp" else self._ladder(ends)

    def _bulk(self, ends: Ends) -> Measurement:
        directions = ("forward", "reverse") if self.spec.direction == "both" else (self.spec.direction,)
        of_stream = dict(enumerate(directions * self.spec.streams, FIRST_PORT))
        length = ["--length", str(self.spec.message)] if self.spec.message else []
        options = [*length, "--congestion", congestion_control()]
        servers = {port: _serve(ends, port) for port in of_stream}
        began = time.monotonic()
        clients = {
            port: self._client(ends, port, [*options, *(["--reverse"] if direction == "reverse" else [])])
            for port, direction in of_stream.items()
        }
        at_source = {port: self._finished(ends, port, client) for port, client in clients.items()}
        span = time.monotonic() - began
        at_target = {port: _server_report(ends, port, server) for port, server in servers.items()}
        version = ends.address.version
        flows = [
            read_flow(direction, at_source[port], at_target[port], version) for port, direction in of_stream.items()
        ]
        if len(flows) == 1:
            span = flows[0].seconds
        return Measurement(
            (
                *_throughputs(flows, span),
                Value("retransmits", "segments", float(sum(flow.resent for flow in flows))),
                Value("mss", "bytes", float(min(flow.mss for flow in flows))),
            ),
            carried_gbit=_gbit(flows),
        )

    def _ladder(self, ends: Ends) -> Measurement:
        rates = self.spec.rates or (AS_FAST_AS_IT_GOES,)
        steps = [self._step(ends, FIRST_PORT + number, rate) for number, rate in enumerate(rates)]
        values = [
            value
            for rate, step in zip(rates, steps, strict=True)
            for value in step.values(f"@{rate_text(rate)}" if rate else "")
        ]
        fastest = max(step.arrived / step.seconds for step in steps)
        return Measurement(
            (*values, Value("packets_per_s", "1/s", fastest)), carried_gbit=sum(step.gbit for step in steps)
        )

    def _step(self, ends: Ends, port: int, rate: int) -> "Step":
        """Offers one rate for the probe's duration."""
        largest = ends.lab.plan.pod_mtu - IP_HEADER[ends.address.version] - UDP_HEADER
        size = str(self.spec.message or largest)
        server = _serve(ends, port)
        client = self._client(ends, port, ["--udp", "--bitrate", str(rate), "--length", size, *_buffers(ends)])
        return read_step(self._finished(ends, port, client), _server_report(ends, port, server))

    def _client(self, ends: Ends, port: int, options: list[str]) -> "Popen[bytes]":
        where = ["--client", str(ends.address), "--port", str(port)]
        duration = f"{self.spec.duration.total_seconds():.0f}"
        return ends.start(ends.source, [NAME, *where, "--time", duration, "--json", *options])

    def _finished(self, ends: Ends, port: int, client: "Popen[bytes]") -> Report:
        return report(ends.finish(client, f"{NAME}-{port}.json", self.spec.duration.total_seconds()))


def congestion_control() -> str:
    """CUBIC, Linux's default (RFC 9438), or Reno, which every kernel has.

    Not this machine's own choice: BBR and CUBIC differ by more than designs do, and BBR takes care to leave queues
    empty. A namespace may not choose for itself (the kernel restricts it to what the host allows to all), a socket may.
    """
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    return "cubic" if "cubic" in available else "reno"


def _serve(ends: Ends, port: int) -> "Popen[bytes]":
    # --interval 0: a report for every second would fill the pipe, which is read when all is over.
    options = ["--one-off", "--json", "--interval", "0"]
    return ends.serve([NAME, "--server", *options, "--bind", str(ends.address), "--port", str(port)], port)


def _server_report(ends: Ends, port: int, server: "Popen[bytes]") -> Report:
    return report(ends.finish(server, f"{NAME}-{port}-server.json", 0))


def report(output: bytes) -> Report:
    """A process's report; ProbeError if it is none, or says that the test failed."""
    try:
        found: Report = json.loads(output)
    except ValueError as error:
        raise ProbeError(f"iperf3 printed no JSON: {error}") from error
    if "error" in found:
        raise ProbeError(f"iperf3: {found['error']}")
    return found


@dataclass(frozen=True)
class Flow:
    """What one TCP stream carried."""

    direction: str
    arrived: int
    """Bytes of payload."""
    seconds: float
    """How long the receiver received."""
    resent: int
    """Segments."""
    mss: int
    """Bytes of payload in a full segment."""


def read_flow(direction: str, client: Report, server: Report, version: int) -> Flow:
    """Reads the reports of a TCP stream's two ends, over this version of IP."""
    sender, receiver = (client, server) if direction == "forward" else (server, client)
    mss = segment_size(client, sender, version)
    try:
        received, resent = receiver["end"]["sum_received"], sender["end"]["sum_sent"]["retransmits"]
        return Flow(direction, received["bytes"], received["seconds"], resent, mss)
    except KeyError as error:
        raise ProbeError(f"iperf3's report has no {error}") from error


def segment_size(client: Report, sender: Report, version: int) -> int:
    """The MSS that a stream had in the end, in bytes.

    iperf3 asks the kernel for it when the client has connected (`tcp_mss_default`). Should the path's MTU turn out to
    be smaller (ICMP's 'fragmentation needed'), the kernel makes segments smaller, which the sender's `pmtu` tells.
    """
    try:
        asked = int(client["start"]["tcp_mss_default"])
        path_mtu = int(sender["intervals"][-1]["streams"][0]["pmtu"])
    except (KeyError, IndexError) as error:
        raise ProbeError(f"iperf3's report does not tell the MSS: {error}") from error
    return min(asked, path_mtu - IP_HEADER[version] - TCP_HEADER)


def _throughputs(flows: list[Flow], span: float) -> Iterator[Value]:
    """Gbit/s over the time in which any stream ran.

    The streams' own rates are of times that begin and end apart: of 64 streams on two CPUs they add up to a fifth more
    than the device carries.
    """
    yield Value("throughput", "Gbit/s", _gbit(flows) / span)
    if len({flow.direction for flow in flows}) > 1:
        for direction in ("forward", "reverse"):
            one_way = _gbit(flow for flow in flows if flow.direction == direction)
            yield Value(f"throughput_{direction}", "Gbit/s", one_way / span)


def _gbit(flows: Iterable[Flow]) -> float:
    return sum(flow.arrived for flow in flows) * 8 / 1e9


@dataclass(frozen=True)
class Step:
    """What came of one offered rate."""

    size: int
    """Bytes of payload in a datagram."""
    sent: int
    """Datagrams, as the sender counted."""
    arrived: int
    """Datagrams, as the receiver counted."""
    highest: int
    """The number of the last datagram that the receiver saw, counted from 1; 0 if it saw none."""
    seconds: float
    """How long the receiver received."""

    @property
    def gbit(self) -> float:
        return self.arrived * self.size * 8 / 1e9

    @property
    def loss(self) -> float:
        """Percent: of those up to the last that arrived, since those behind it may still have been on their way.

        Where more are missing at the end than can have been on their way, they are lost too.
        """
        on_their_way = self.sent * ON_THE_WAY_S / self.seconds
        of = self.highest if self.sent - self.highest <= on_their_way else self.sent
        # A datagram that the network doubled makes up for none that it lost, nor for one that was never sent.
        return 100 * max(of - self.arrived, 0) / of

    def values(self, at: str) -> Iterator[Value]:
        """`at` is what the metrics' names end with."""
        yield Value(f"loss{at}", "%", self.loss)
        yield Value(f"received{at}", "Gbit/s", self.gbit / self.seconds)


def read_step(client: Report, server: Report) -> Step:
    """Reads the reports of the two ends of a stream of datagrams."""
    try:
        size = int(client["start"]["test_start"]["blksize"])
        sent, received = client["end"]["sum_sent"]["packets"], server["end"]["sum_received"]
        found = Step(size, sent, received["bytes"] // size, received["packets"], received["seconds"])
    except KeyError as error:
        raise ProbeError(f"iperf3's report has no {error}") from error
    if not found.sent:
        raise ProbeError("iperf3 sent no datagram")
    return found


def _buffers(ends: Ends) -> list[str]:
    """iperf3's option for larger socket buffers, as large as this kernel lets them be; it fails if asked for more."""
    with ends.lab.namespaces[ends.target].entered():
        try:
            limits = [int(Path(f"/proc/sys/net/core/{name}").read_text()) for name in ("rmem_max", "wmem_max")]
        except FileNotFoundError:  # Older kernels tell it only outside of every namespace.
            return []
    # The kernel doubles what it is asked for, and iperf3 compares with the double.
    return ["--window", str(min(UDP_BUFFER, 2 * min(limits)))]
