"""Probes: one file for each measuring program, with its command lines and how its output becomes samples."""

from testbed.probes import iperf3, sockperf
from testbed.probes.probe import Probe
from testbed.spec.scenario import Iperf3Probe, SockperfProbe
from testbed.spec.scenario import Probe as ProbeSpec

TOOLS = (sockperf.NAME, iperf3.NAME)


def probe_of(spec: ProbeSpec) -> Probe:
    """The probe that does what the scenario asks for."""
    match spec:
        case SockperfProbe():
            return sockperf.Sockperf(spec)
        case Iperf3Probe():
            return iperf3.Iperf3(spec)
