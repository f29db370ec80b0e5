"""Table of metrics: unit, title, which direction is better, where it is shown.

A metric that is not in the table is summarised too, without a direction, so without a verdict. A name may have a suffix
for the setting, as in `loss@100Mbit`, and a prefix for the probe, as in `PROBE/rtt_p50`, if two probes measure it.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One kind of number."""

    name: str
    """As in samples.csv."""
    unit: str
    title: str
    better: Literal["lower", "higher"] | None = None
    """None: informational, without a verdict."""
    main: bool = False
    """Described in a sentence, and drawn round by round."""
    in_table: bool = False
    """Shown in the terminal and in the first tables of the reports; every metric is in summary.csv."""
    distribution: str = ""
    """For a percentile: its metric in histograms.jsonl."""
    percentile: float = 0
    exact: bool = False
    """Counted, not measured: the same on every machine. Differences of more than EQUAL are verdicts without a test."""


EQUAL = 0.005
"""Exact values that differ by less than this fraction are equal."""


def _counts(name: str, title: str) -> tuple[Metric, ...]:
    """A count of instructions: the median of a round, its minimum, and how many counts exceed that."""
    return (
        Metric(f"{name}_instructions", "instructions", title, "lower", in_table=True, exact=True),
        Metric(f"{name}_instructions_min", "instructions", f"{title}, minimum", exact=True),
        Metric(f"{name}_instructions_differing", "%", f"{title}, counts above the minimum", exact=True),
    )


def _percentiles(distribution: str, title: str) -> tuple[Metric, ...]:
    """The percentiles of a distribution. Only p50 and p99 get verdicts: each further comparison weakens the others."""
    return (
        Metric(f"{distribution}_p50", "us", f"{title} p50", "lower", True, True, distribution, 50),
        Metric(f"{distribution}_p90", "us", f"{title} p90", None, False, False, distribution, 90),
        Metric(f"{distribution}_p99", "us", f"{title} p99", "lower", False, True, distribution, 99),
        Metric(f"{distribution}_p99.9", "us", f"{title} p99.9", None, False, False, distribution, 99.9),
    )


METRICS = {
    metric.name: metric
    for metric in (
        Metric("throughput", "Gbit/s", "Throughput", "higher", main=True, in_table=True),
        Metric("throughput_forward", "Gbit/s", "Throughput forward"),
        Metric("throughput_reverse", "Gbit/s", "Throughput reverse"),
        *_percentiles("rtt", "RTT"),
        *_percentiles("open_rtt", "Open-loop RTT"),
        *_percentiles("loaded_rtt", "RTT under load"),
        Metric("loaded_throughput", "Gbit/s", "Throughput of the load", in_table=True),
        *_percentiles("icmp_rtt", "ICMP RTT"),
        Metric("connections", "1/s", "New connections", "higher", main=True, in_table=True),
        *_percentiles("connect", "Connect time"),
        Metric("transactions", "1/s", "Transactions", "higher", main=True, in_table=True),
        Metric("packets_per_s", "1/s", "Packets", "higher", main=True, in_table=True),
        Metric("received", "Gbit/s", "Received throughput", "higher", in_table=True),
        Metric("loss", "%", "Loss", in_table=True),
        Metric("jitter", "us", "Jitter", in_table=True),
        Metric("cpu_per_gbit", "s/Gbit", "CPU time per Gbit", "lower", in_table=True),
        Metric("cpu_per_request", "us", "CPU time per request"),
        Metric("build_time", "ms", "Lab build time", "lower", main=True, in_table=True),
        Metric("attach_time", "ms", "Pod attach time", "lower", in_table=True),
        Metric("convergence", "ms", "Route convergence", "lower", main=True, in_table=True),
        Metric("pod_memory", "KiB", "Kernel memory per pod"),
        Metric("retransmits", "segments", "Retransmits"),
        Metric("messages", "count", "Messages"),
        Metric("mss", "bytes", "MSS"),
        *_counts("icmp", "ICMP echo"),
        *_counts("udp_64", "UDP 64 B"),
        *_counts("udp_1024", "UDP 1 KiB"),
        *_counts("tcp_64", "TCP 64 B"),
        *_counts("tcp_1024", "TCP 1 KiB"),
        *_counts("connect", "Connection"),
        *_counts("packet", "Packet"),
        *_counts("bulk", "TCP MB"),
        *_counts("bulk_no_offload", "TCP MB, no offload"),
    )
}

MIN_VALUES = {99.9: 10_000}
"""The number of values that a percentile requires; with fewer it is absent."""


def bare(name: str) -> str:
    """The metric's name without probe and setting."""
    return name.rpartition("/")[2].partition("@")[0]


def known(name: str, unit: str = "") -> Metric:
    """The metric of a name as in a summary: `rtt_p50`, `PROBE/rtt_p50` if two probes measure it, `loss@1Gbit`."""
    metric = METRICS.get(bare(name)) or Metric(bare(name), unit, bare(name))
    at = name.partition("@")[2]
    return replace(metric, name=name.rpartition("/")[2], title=f"{metric.title} at {at}") if at else metric


def title(name: str) -> str:
    """The metric's title, with its probe if two probes measure it."""
    probe = name.rpartition("/")[0]
    return f"{known(name).title} ({probe})" if probe else known(name).title


def order(name: str) -> tuple[int, str]:
    """Sort key: metrics in the order of the table above, unknown ones last."""
    names = list(METRICS)
    return (names.index(bare(name)) if bare(name) in names else len(names), name)
