"""A probe that takes a twentieth of a second, for tests of what surrounds probes: schedules, results, endings.

Whatever program a scenario names, packets of `ping` really go from source to target. As a module it is the testbed's
command line with this probe in place of all others: `python -m tests.experiment.quick run SCENARIO`.
"""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from testbed.cli import main
from testbed.probes.probe import Distribution, Ends, Measurement, Value
from testbed.spec.probes import Probe as ProbeSpec

PACKETS = 50
"""More than what neighbour discovery and multicast put on a link meanwhile."""
HEADERS = 20 + 8
"""Of IPv4 and ICMP, in bytes: the packets are as large as pods may send."""


@dataclass(frozen=True)
class Quick:
    """Of a probe the scenario's name and words, and nothing else."""

    spec: ProbeSpec
    together: bool = False
    seconds: float = 0.05
    tools: tuple[str, ...] = ()

    def measure(self, ends: Ends) -> Measurement:
        """Round trip times as `rtt`; as `throughput` the pods' MTU in each of its streams, in Gbit/s."""
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
    """Puts this probe in place of all others."""
    for user in ("testbed.probes", "testbed.experiment.outline", "testbed.experiment.manifest"):
        patch.setattr(f"{user}.probe_of", Quick)


if __name__ == "__main__":
    install(pytest.MonkeyPatch())
    main()
