"""iperf3: bulk throughput of TCP, and loss and throughput of UDP at given rates.

Each stream has its own client process, server process and port: iperf3 up to 3.15 serves all streams of a process with
one thread, so several streams in one process would measure that thread instead of the network.

Each number is from the report of the end that observes it: received data from the receiver, retransmits from the
sender.
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
"""With the timestamps that Linux adds to every segment."""
UDP_BUFFER = 2 * 1024**2
"""Socket buffer at either end, in bytes. Default buffers hold a millisecond of datagrams: if the receiver waits longer
for its CPU, they overflow, which would count as loss of the network."""
ON_THE_WAY_S = 0.25
"""Maximum time that a datagram is in transit."""
UNLIMITED = 0
"""Value of iperf3's --bitrate for no limit."""

Report = dict[str, Any]
"""Output of one iperf3 process with --json."""


@dataclass(frozen=True)
class Iperf3:
    spec: Iperf3Probe

    together = False
    tools = (NAME,)

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds() * max(len(self.spec.rates), 1)

    def measure(self, ends: Ends) -> Measurement:
        """TCP: received payload in Gbit/s, retransmitted segments, and the MSS.

        UDP: for each rate, the loss in percent and the received payload in Gbit/s; and the largest number of datagrams
        received per second at any rate.
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
        rates = self.spec.rates or (UNLIMITED,)
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
        """Send at one rate for the probe's duration."""
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

    The machine's setting is not used: BBR and CUBIC differ by more than designs do, and BBR keeps queues empty. It is
    set per socket, because a namespace is restricted to the algorithms that the host allows to all.
    """
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    return "cubic" if "cubic" in available else "reno"


def _serve(ends: Ends, port: int) -> "Popen[bytes]":
    # --interval 0: reports for every second would fill the pipe, which is only read at the end.
    options = ["--one-off", "--json", "--interval", "0"]
    return ends.serve([NAME, "--server", *options, "--bind", str(ends.address), "--port", str(port)], port)


def _server_report(ends: Ends, port: int, server: "Popen[bytes]") -> Report:
    return report(ends.finish(server, f"{NAME}-{port}-server.json", 0))


def report(output: bytes) -> Report:
    """Parse a process's report. Raises ProbeError if it is not JSON or reports an error."""
    try:
        found: Report = json.loads(output)
    except ValueError as error:
        raise ProbeError(f"iperf3 printed no JSON: {error}") from error
    if "error" in found:
        raise ProbeError(f"iperf3: {found['error']}")
    return found


@dataclass(frozen=True)
class Flow:
    """The results of one TCP stream."""

    direction: str
    arrived: int
    """Received payload in bytes."""
    seconds: float
    """Duration at the receiver."""
    resent: int
    """Retransmitted segments."""
    mss: int
    """Bytes of payload in a full segment."""


def read_flow(direction: str, client: Report, server: Report, version: int) -> Flow:
    """Parse the reports of a TCP stream's two ends, over this version of IP."""
    sender, receiver = (client, server) if direction == "forward" else (server, client)
    mss = segment_size(client, sender, version)
    try:
        received, resent = receiver["end"]["sum_received"], sender["end"]["sum_sent"]["retransmits"]
        return Flow(direction, received["bytes"], received["seconds"], resent, mss)
    except KeyError as error:
        raise ProbeError(f"iperf3's report lacks {error}") from error


def segment_size(client: Report, sender: Report, version: int) -> int:
    """The MSS of a stream at its end, in bytes.

    iperf3 reads it from the kernel when the client has connected (`tcp_mss_default`). If the path's MTU is smaller
    (ICMP 'fragmentation needed'), the kernel reduces the size of segments, as the sender's `pmtu` shows.
    """
    try:
        asked = int(client["start"]["tcp_mss_default"])
        path_mtu = int(sender["intervals"][-1]["streams"][0]["pmtu"])
    except (KeyError, IndexError) as error:
        raise ProbeError(f"iperf3's report lacks the MSS: {error}") from error
    return min(asked, path_mtu - IP_HEADER[version] - TCP_HEADER)


def _throughputs(flows: list[Flow], span: float) -> Iterator[Value]:
    """Throughput in Gbit/s over the time in which any stream ran.

    The streams' own rates are not added, because the streams begin and end at different times: with 64 streams on two
    CPUs, the sum is 20% more than the device carries.
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
    """The results at one offered rate."""

    size: int
    """Bytes of payload in a datagram."""
    sent: int
    """Datagrams counted by the sender."""
    arrived: int
    """Datagrams counted by the receiver."""
    highest: int
    """The number of the last received datagram, counted from 1; 0 if there was none."""
    seconds: float
    """Duration at the receiver."""

    @property
    def gbit(self) -> float:
        return self.arrived * self.size * 8 / 1e9

    @property
    def loss(self) -> float:
        """Loss in percent of the datagrams up to the last received one; later ones may still have been in transit.

        If more are missing at the end than can have been in transit, they count as lost too.
        """
        in_transit = self.sent * ON_THE_WAY_S / self.seconds
        of = self.highest if self.sent - self.highest <= in_transit else self.sent
        # Duplicated datagrams can make `arrived` larger than `of`.
        return 100 * max(of - self.arrived, 0) / of

    def values(self, at: str) -> Iterator[Value]:
        """The metrics of this rate; `at` is the suffix of their names."""
        yield Value(f"loss{at}", "%", self.loss)
        yield Value(f"received{at}", "Gbit/s", self.gbit / self.seconds)


def read_step(client: Report, server: Report) -> Step:
    """Parse the reports of a UDP stream's two ends."""
    try:
        size = int(client["start"]["test_start"]["blksize"])
        sent, received = client["end"]["sum_sent"]["packets"], server["end"]["sum_received"]
        found = Step(size, sent, received["bytes"] // size, received["packets"], received["seconds"])
    except KeyError as error:
        raise ProbeError(f"iperf3's report lacks {error}") from error
    if not found.sent:
        raise ProbeError("iperf3 sent no datagram")
    return found


def _buffers(ends: Ends) -> list[str]:
    """iperf3's option for larger socket buffers, within this kernel's limits; iperf3 fails beyond them."""
    with ends.lab.namespaces[ends.target].entered():
        try:
            limits = [int(Path(f"/proc/sys/net/core/{name}").read_text()) for name in ("rmem_max", "wmem_max")]
        except FileNotFoundError:  # Older kernels have these files only in the initial namespace.
            return []
    # The kernel doubles the requested size, and iperf3 compares with the doubled size.
    return ["--window", str(min(UDP_BUFFER, 2 * min(limits)))]
