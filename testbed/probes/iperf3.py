"""iperf3: bulk TCP throughput. Each stream is a client and a server process of its own on a port of its own.

iperf3 up to 3.15 serves all streams of one process with one thread, so many streams in one process would measure that
thread instead of the network.
"""

import json
from dataclasses import dataclass
from typing import Any

from testbed.probes.probe import Ends, Measurement, ProbeError, Value
from testbed.spec.scenario import Iperf3Probe

NAME = "iperf3"
FIRST_PORT = 7500


@dataclass(frozen=True)
class Iperf3:
    spec: Iperf3Probe

    together = False

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds()

    def measure(self, ends: Ends) -> Measurement:
        """What arrived at the receivers, in Gbit/s of payload, and how many segments were sent again."""
        address = str(ends.address)
        ports = [str(FIRST_PORT + number) for number in range(self.spec.streams)]
        for port in ports:
            ends.serve([NAME, "--server", "--one-off", "--bind", address, "--port", port], int(port))
        options = ["--time", f"{self.seconds:.0f}", "--json"]
        clients = {
            port: ends.start(ends.source, [NAME, "--client", address, "--port", port, *options]) for port in ports
        }
        outputs = [ends.finish(client, f"{NAME}-{port}.json", self.seconds) for port, client in clients.items()]
        streams = [parse(output.decode()) for output in outputs]
        return Measurement(
            (
                Value("throughput", "Gbit/s", sum(gbits for gbits, _ in streams)),
                Value("retransmits", "segments", float(sum(resent for _, resent in streams))),
            )
        )


def parse(output: str) -> tuple[float, int]:
    """Gbit/s at the receiver and segments retransmitted, from a client's JSON."""
    try:
        report: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise ProbeError(f"iperf3 printed no JSON: {error}") from error
    if "error" in report:
        raise ProbeError(f"iperf3: {report['error']}")
    try:
        end = report["end"]
        return end["sum_received"]["bits_per_second"] / 1e9, end["sum_sent"]["retransmits"]
    except KeyError as error:
        raise ProbeError(f"iperf3's report has no {error}") from error
