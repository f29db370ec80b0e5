"""Probes: one file per measuring program, with its command lines and the parsing of its output."""

import inspect
from dataclasses import dataclass

from testbed.probes import fping, iperf3, irtt, netperf, sockperf, wrk
from testbed.probes.percentiles import PERCENTILES, TAIL_PERCENTILE
from testbed.probes.probe import Probe
from testbed.spec.probes import FpingProbe, Iperf3Probe, IrttProbe, NetperfProbe, SockperfProbe, WrkProbe
from testbed.spec.probes import Probe as ProbeSpec


@dataclass(frozen=True)
class Kind:
    """Facts about a probe that do not depend on its options."""

    spec: type[ProbeSpec]
    programs: tuple[str, ...]
    """All programs that it may start, as named in `testbed.kernel.programs`."""
    metrics: tuple[str, ...]
    """All metrics that it may give, as named in samples.csv, without the `@` part."""

    @property
    def summary(self) -> str:
        """What it measures, in one line."""
        return (inspect.getdoc(self.spec) or "").partition("\n")[0].removesuffix(".")


def _percentiles(metric: str) -> tuple[str, ...]:
    return tuple(f"{metric}_p{q:g}" for q in (*PERCENTILES, TAIL_PERCENTILE))


PROBES = {
    "sockperf": Kind(SockperfProbe, (sockperf.NAME,), (*_percentiles("rtt"), "messages")),
    "irtt": Kind(
        IrttProbe,
        (irtt.NAME, iperf3.NAME),
        (*_percentiles("open_rtt"), *_percentiles("loaded_rtt"), "loaded_throughput", "loss", "jitter"),
    ),
    "fping": Kind(FpingProbe, (fping.NAME,), (*_percentiles("icmp_rtt"), "loss")),
    "iperf3": Kind(
        Iperf3Probe,
        (iperf3.NAME,),
        (
            *("throughput", "throughput_forward", "throughput_reverse", "retransmits", "mss"),
            *("loss", "received", "packets_per_s"),
        ),
    ),
    "wrk": Kind(WrkProbe, (wrk.NAME, wrk.SERVER, wrk.CLIENT), ("connections", *_percentiles("connect"))),
    "netperf": Kind(NetperfProbe, (netperf.NAME, netperf.SERVER), ("transactions", "throughput")),
}
"""By the tool's name in a scenario."""


def probe_of(spec: ProbeSpec) -> Probe:
    """The probe for a scenario's probe entry."""
    match spec:
        case SockperfProbe():
            return sockperf.Sockperf(spec)
        case Iperf3Probe():
            return iperf3.Iperf3(spec)
        case IrttProbe():
            return irtt.Irtt(spec)
        case WrkProbe():
            return wrk.Wrk(spec)
        case FpingProbe():
            return fping.Fping(spec)
        case NetperfProbe():
            return netperf.Netperf(spec)
