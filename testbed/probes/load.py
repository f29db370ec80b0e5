"""A load of iperf3 TCP streams that fills a path while something else is measured on it.

The streams must fill the queues, as most TCP traffic does; see `iperf3.congestion_control`.
"""

import math
import time
from dataclasses import dataclass
from subprocess import Popen

from testbed.probes.iperf3 import FIRST_PORT, NAME, congestion_control, report
from testbed.probes.probe import Ends, ProbeError


@dataclass(frozen=True)
class Stream:
    """A client and a server process with their own port."""

    port: int
    server: "Popen[bytes]"
    client: "Popen[bytes]"
    began: float
    """By the monotonic clock, in seconds."""


@dataclass(frozen=True)
class Load:
    """Streams from source to target."""

    streams: tuple[Stream, ...]
    seconds: float
    """Duration of each stream."""

    @staticmethod
    def start(ends: Ends, streams: int, seconds: float) -> "Load":
        """Start the streams, for `seconds` rounded up to whole seconds."""
        counted = math.ceil(seconds)  # iperf3 counts whole seconds.
        ports = range(FIRST_PORT, FIRST_PORT + streams)
        servers = [_serve(ends, port) for port in ports]
        running = (
            Stream(port, server, _client(ends, port, counted), time.monotonic())
            for port, server in zip(ports, servers, strict=True)
        )
        return Load(tuple(running), counted)

    def must_be_running(self) -> None:
        """Raises ProbeError if one of the streams has ended."""
        if any(stream.client.poll() is not None for stream in self.streams):
            raise ProbeError("the load ended before the measurement did")

    def finish(self, ends: Ends) -> float:
        """Wait for the end; return the throughput of all streams, from first start to last end, in Gbit/s."""
        flows = [self._finished(ends, stream) for stream in self.streams]
        ended = max(stream.began + seconds for stream, (_, seconds) in zip(self.streams, flows, strict=True))
        return sum(arrived for arrived, _ in flows) * 8 / 1e9 / (ended - self.streams[0].began)

    def _finished(self, ends: Ends, stream: Stream) -> tuple[int, float]:
        """The bytes that arrived and the duration in seconds, as reported by the receiver."""
        report(ends.finish(stream.client, f"{NAME}-{stream.port}.json", self.seconds))
        seen = report(ends.finish(stream.server, f"{NAME}-{stream.port}-server.json", 0))
        try:
            received = seen["end"]["sum_received"]
            return int(received["bytes"]), float(received["seconds"])
        except KeyError as error:
            raise ProbeError(f"iperf3's report lacks {error}") from error


def _serve(ends: Ends, port: int) -> "Popen[bytes]":
    # --interval 0: reports for every second would fill the pipe, which is only read at the end.
    options = ["--one-off", "--json", "--interval", "0"]
    return ends.serve([NAME, "--server", *options, "--bind", str(ends.address), "--port", str(port)], port)


def _client(ends: Ends, port: int, seconds: int) -> "Popen[bytes]":
    options = ["--time", str(seconds), "--json", "--interval", "0", "--congestion", congestion_control()]
    return ends.start(ends.source, [NAME, "--client", str(ends.address), "--port", str(port), *options])
