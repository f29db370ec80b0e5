"""The percentiles that probes report."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from testbed.probes.probe import Value

PERCENTILES = (50.0, 90.0, 99.0)
TAIL_PERCENTILE = 99.9
TAIL_NEEDS = 10_000
"""Minimum number of values for the 99.9th percentile: ten are above it."""


def percentiles(metric: str, unit: str, values: npt.NDArray[np.float64]) -> Iterator[Value]:
    """`METRIC_p50`, `_p90`, `_p99`, and `_p99.9` if there are enough values; each is one of the values."""
    wanted = [*PERCENTILES, *([TAIL_PERCENTILE] if len(values) >= TAIL_NEEDS else [])]
    found = np.percentile(values, wanted, method="inverted_cdf")
    for q, value in zip(wanted, found, strict=True):
        yield Value(f"{metric}_p{q:g}", unit, float(value))
