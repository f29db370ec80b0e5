"""What is known of each metric: its unit, its name for a reader, which way is better, where it is shown.

A metric that is not in the table is summarised like any other and has no direction, so no verdict.
"""

from dataclasses import dataclass
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
    percentile: float | None = None
    """Which percentile of the distribution `rtt` it is."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("throughput", "Gbit/s", "Throughput", "higher", main=True, in_table=True),
        Metric("rtt_p50", "us", "RTT p50", "lower", main=True, in_table=True, percentile=50),
        Metric("rtt_p90", "us", "RTT p90", "lower", percentile=90),
        Metric("rtt_p99", "us", "RTT p99", "lower", in_table=True, percentile=99),
        Metric("rtt_p99.9", "us", "RTT p99.9", "lower", percentile=99.9),
        Metric("retransmits", "segments", "Retransmits"),
        Metric("messages", "count", "Messages"),
    )
}

DISTRIBUTION = "rtt"
"""The metric of histograms.jsonl."""

MIN_VALUES = {99.9: 10_000}
"""A percentile is given only where so many values stand behind it; otherwise it is absent, not guessed."""


def known(name: str, unit: str = "") -> Metric:
    """The metric named as in a summary: `rtt_p50`, or `PROBE/rtt_p50` where two probes measure it."""
    bare = name.rpartition("/")[2]
    return METRICS.get(bare) or Metric(bare, unit, bare)


def title(name: str) -> str:
    """The metric's name for a reader, with its probe where two probes measure it."""
    probe = name.rpartition("/")[0]
    return f"{known(name).title} ({probe})" if probe else known(name).title


def order(name: str) -> tuple[int, str]:
    """Sorts metrics as the table above lists them, unknown ones last."""
    names = list(METRICS)
    bare = name.rpartition("/")[2]
    return (names.index(bare) if bare in names else len(names), name)
