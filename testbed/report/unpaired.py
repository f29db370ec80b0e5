"""Statistics of one number in two runs, whose rounds cannot be paired.

All functions are pure; resamples use fixed seeds, so the same samples give the same report.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from testbed.experiment.results import Histogram, Values
from testbed.report.paired import CONFIDENCE, RESAMPLES, smallest_effect

Draws = npt.NDArray[np.int64]
"""Indices of the resampled rounds, one row per resample."""


@dataclass(frozen=True)
class Evidence:
    """One number in the rounds of one run."""

    values: Values
    """One per round."""
    point: float
    """The estimate from all rounds."""
    drawn: Values
    """The estimate from each resample of the rounds."""


@lru_cache(maxsize=8)
def draws(side: int, rounds: int) -> Draws:
    """Resamples of this number of rounds."""
    return np.random.default_rng([side, rounds]).integers(0, rounds, (RESAMPLES, rounds))


def plain(values: Values, draws: Draws) -> Evidence:
    """Evidence of the median of one number per round."""
    return Evidence(values, float(np.median(values)), np.median(values[draws], axis=1))


def pooled(histograms: Sequence[Histogram], q: float, draws: Draws) -> tuple[float, Values]:
    """The percentile of all rounds' values together, and of each resample.

    A percentile of a mixture lies between the smallest and the largest percentile of its parts, so only values in that
    range are used.
    """
    own = [h.percentile(q) for h in histograms]
    values = np.unique(np.concatenate([h.values[(h.values >= min(own)) & (h.values <= max(own))] for h in histograms]))
    below = np.array([np.append(0, h.counts.cumsum())[np.searchsorted(h.values, values, "right")] for h in histograms])
    totals = np.array([h.total for h in histograms])
    times = np.zeros((len(draws) + 1, len(histograms)), np.int64)
    times[0] = 1
    np.add.at(times[1:], (np.arange(len(draws))[:, None], draws), 1)
    ranks = np.maximum(np.ceil(q / 100 * (times @ totals) - 1e-9), 1)
    found = values[(times @ below < ranks[:, None]).sum(axis=1)]
    return float(found[0]), found[1:]


def interval(old: Evidence, new: Evidence) -> tuple[float, float] | None:
    """The 95% percentile bootstrap interval of NEW over OLD; None for a single round, or if OLD may be 0.

    A ratio of two medians needs no widening, unlike a median of few rounds (`paired.widened`): with 5 to 20 rounds per
    run it contains the true ratio in 94 to 97% of cases, and in 91% if one run is four times as noisy as the other.
    """
    if min(len(old.values), len(new.values)) < 2 or not (old.drawn > 0).all():
        return None
    low, high = np.quantile(new.drawn / old.drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Welch:
    """Welch's t test of the logs of two runs. B. L. Welch, Biometrika 34 (1947), 28-35."""

    difference: float
    """Difference of the means of the logs, NEW minus OLD."""
    error: float
    """Its standard error."""
    freedom: float
    """Degrees of freedom."""

    @property
    def p_value(self) -> float:
        if self.error == 0:
            return float(self.difference == 0)
        return float(2 * stdtr(self.freedom, -abs(self.difference) / self.error))


def welch(old: Values, new: Values) -> Welch | None:
    """The test; None unless each run has at least two values and all are positive."""
    if min(len(old), len(new)) < 2 or min(old.min(), new.min()) <= 0:
        return None
    logs = np.log(old), np.log(new)
    parts = [float(np.var(one, ddof=1)) / len(one) for one in logs]
    squares = sum(part**2 / (len(one) - 1) for part, one in zip(parts, logs, strict=True))
    freedom = sum(parts) ** 2 / squares if squares else len(old) + len(new) - 2
    return Welch(float(logs[1].mean() - logs[0].mean()), math.sqrt(sum(parts)), freedom)


def smallest(tests: Sequence[Welch], floors: Sequence[float], level: float) -> Values:
    """The smallest log ratio that each test detects at this level, above its floor, with 90% probability.

    A test is treated as a paired test with the same degrees of freedom and standard error.
    """
    rounds = np.array([int(test.freedom) + 1 for test in tests], dtype=np.intp)
    errors = np.array([test.error for test in tests])
    return smallest_effect(
        errors * np.sqrt(rounds), rounds, (rounds - 1).astype(np.float64), np.array(floors), np.full(len(tests), level)
    )
