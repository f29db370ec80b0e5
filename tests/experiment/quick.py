"""A probe that takes 0.05 s, for tests of schedules, results and termination.

It replaces all programs of a scenario by `ping` from source to target. As a module it is the testbed's command line
with this probe instead of all others: `python -m tests.experiment.quick run SCENARIO`.
"""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from testbed.cli import main
from testbed.probes.probe import Distribution, Ends, Measurement, Value
from testbed.spec.probes import Probe as ProbeSpec

PACKETS = 50
"""More than neighbour discovery and multicast send at the same time."""
HEADERS = 20 + 8
"""IPv4 and ICMP headers in bytes: packets have the size of the pods' MTU."""


@dataclass(frozen=True)
class Quick:
    """Has the name and options of the scenario's probe, but runs ping."""

    spec: ProbeSpec
    together: bool = False
    seconds: float = 0.05
    tools: tuple[str, ...] = ()

    def measure(self, ends: Ends) -> Measurement:
        """Round-trip times as `rtt`; as `throughput`, the pods' MTU times the number of streams."""
        whole = str(ends.lab.plan.pod_mtu - HEADERS)
        flood = ["ping", "-c", str(PACKETS), "-i", "0.001", "-M", "do", "-s", whole, str(ends.address)]
        said = ends.finish(ends.start(ends.source, flood), "ping.txt", self.seconds).decode()
        times_us = np.array([float(text) * 1000 for text in re.findall(r"time=([\d.]+) ms", said)])
        values = (
            Value("throughput", "Gbit/s", float(ends.lab.plan.pod_mtu * getattr(self.spec, "streams", 1))),
            Value("rtt_p50", "us", float(np.percentile(times_us, 50, method="inverted_cdf"))),
        )
        return Measurement(values, (Distribution("rtt", "us", times_us),), requests=PACKETS)


def install(patch: pytest.MonkeyPatch) -> None:
    """Replace all probes by this one."""
    for user in ("testbed.probes", "testbed.experiment.outline", "testbed.experiment.manifest"):
        patch.setattr(f"{user}.probe_of", Quick)


if __name__ == "__main__":
    install(pytest.MonkeyPatch())
    main()
