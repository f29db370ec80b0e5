"""The metrics that a scenario can name."""

from typing import Literal

Directed = Literal[
    "throughput",
    "rtt_p50",
    "rtt_p99",
    "open_rtt_p50",
    "open_rtt_p99",
    "loaded_rtt_p50",
    "loaded_rtt_p99",
    "icmp_rtt_p50",
    "icmp_rtt_p99",
    "connections",
    "connect_p50",
    "connect_p99",
    "transactions",
    "packets_per_s",
    "received",
    "cpu_per_gbit",
    "build_time",
    "attach_time",
    "convergence",
]
"""Metrics of which one direction is better, so that they get verdicts."""
