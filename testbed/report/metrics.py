"""What is known of each metric: its unit, its name for a reader, which way is better, where it is shown.

A metric that is not in the table is summarised like any other and has no direction, so no verdict. A name may carry
what it was measured at, as in `loss@100Mbit`, and the probe, as in `PROBE/rtt_p50`, where two probes measure the same.
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
    """None: a number for information, from which no verdict follows."""
    main: bool = False
    """Answered in a sentence, and drawn round by round."""
    in_table: bool = False
    """Shown in the terminal and at the head of the reports; every metric is in summary.csv."""
    distribution: str = ""
    """Of a percentile: the metric in histograms.jsonl that it is taken from."""
    percentile: float = 0


def _percentiles(distribution: str, title: str) -> tuple[Metric, ...]:
    """p50 and p99 are answered; p90 is between them, and more questions would cost the others their answers."""
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
        Metric("loaded_throughput", "Gbit/s", "Throughput meanwhile", in_table=True),
        *_percentiles("icmp_rtt", "ICMP RTT"),
        Metric("connections", "1/s", "New connections", "higher", main=True, in_table=True),
        *_percentiles("connect", "Connecting"),
        Metric("transactions", "1/s", "Transactions", "higher", main=True, in_table=True),
        Metric("packets_per_s", "1/s", "Packets", "higher", main=True, in_table=True),
        Metric("received", "Gbit/s", "Received of the offered", "higher", in_table=True),
        Metric("loss", "%", "Loss", in_table=True),
        Metric("jitter", "us", "Jitter", in_table=True),
        Metric("cpu_per_gbit", "s/Gbit", "CPU time a Gbit", "lower", in_table=True),
        Metric("cpu_per_request", "us", "CPU time a request"),
        Metric("build_time", "ms", "Building the lab", "lower", main=True, in_table=True),
        Metric("attach_time", "ms", "Attaching a pod", "lower", in_table=True),
        Metric("convergence", "ms", "Routes converge", "lower", main=True, in_table=True),
        Metric("pod_memory", "KiB", "Kernel memory a pod"),
        Metric("retransmits", "segments", "Retransmits"),
        Metric("messages", "count", "Messages"),
        Metric("mss", "bytes", "MSS"),
    )
}

MIN_VALUES = {99.9: 10_000}
"""A percentile is given only where so many values stand behind it; otherwise it is absent, not guessed."""


def bare(name: str) -> str:
    """The metric's own name, without a probe before it and what it was measured at behind it."""
    return name.rpartition("/")[2].partition("@")[0]


def known(name: str, unit: str = "") -> Metric:
    """The metric named as in a summary: `rtt_p50`, `PROBE/rtt_p50` where two probes measure it, `loss@1Gbit`."""
    metric = METRICS.get(bare(name)) or Metric(bare(name), unit, bare(name))
    at = name.partition("@")[2]
    return replace(metric, name=name.rpartition("/")[2], title=f"{metric.title} at {at}") if at else metric


def title(name: str) -> str:
    """The metric's name for a reader, with its probe where two probes measure it."""
    probe = name.rpartition("/")[0]
    return f"{known(name).title} ({probe})" if probe else known(name).title


def order(name: str) -> tuple[int, str]:
    """Sorts metrics as the table above lists them, unknown ones last."""
    names = list(METRICS)
    return (names.index(bare(name)) if bare(name) in names else len(names), name)
