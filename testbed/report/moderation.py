"""Estimates of noise that comparisons of one kind share: moderated variances.

With five rounds, a comparison knows its noise with four degrees of freedom, and pays for that with a critical value
several times as large. Yet the same design was measured with the same probe on other paths too. What these measurements
know of the design's noise is a prior for each of them, and the more they agree, the more it counts: empirical Bayes
shrinkage of variances (G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments, Statistical Applications in Genetics and Molecular Biology 3 (2004), article 3).

Two points differ from Smyth's estimate, both because a run compares few designs whose noise differs, and all of them
with one baseline. The prior of a comparison comes only from its kin: the same design and metric on other paths and in
other cells. Different designs do not share a prior, because one may run in user space and another in the kernel, and
because the baseline's noise is in all of them, so their estimates are not independent. And a comparison's own variance
is not part of its own prior. tests/report/test_power.py shows that with the usual estimate more than 5% of runs have a
false verdict, and that with this one fewer have.

All functions are pure.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_SMALLEST_VARIANCE = 1e-24
"""Smaller variances, such as that of equal values, count as this one, so that they have a logarithm."""
_STEPS = 20
"""Newton steps of the inverse trigamma function; it converges in fewer than 10."""


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of each comparison."""

    variance: Numbers
    freedom: Numbers
    """Degrees of freedom of the variance."""


def moderated(variance: Numbers, freedom: Numbers, kin: Indices, metric: Indices) -> Noise:
    """The variances after each has learned from its kin.

    `variance` and `freedom` have the shape (..., comparisons); comparisons without degrees of freedom take no part.
    `kin` and `metric` are the number of each comparison's design and metric together, and of its metric.

    The logarithm of a sample variance with d degrees of freedom has a known bias, and the variance trigamma(d/2); what
    the logarithms of kin differ beyond that is the variance of the true ones, tau^2, one for each metric. So the true
    log variance of a comparison is predicted by the mean of its kin, with the error tau^2 plus that of the mean, and
    this error is translated to degrees of freedom.
    """
    known = freedom > 0
    half = np.where(known, freedom, 1) / 2
    logs = np.log(np.maximum(variance, _SMALLEST_VARIANCE)) - special.digamma(half) + np.log(half)
    logs, error = np.where(known, logs, 0), np.where(known, special.polygamma(1, half), 0)

    size, total, errors = (_sums(values, kin)[..., kin] for values in (known.astype(float), logs, error))
    own_deviation = np.where(known, logs - total / np.maximum(size, 1), 0)
    expected = np.where(known, error * (1 - 1 / np.maximum(size, 1)), 0)
    independent = np.where(known, 1 - 1 / np.maximum(size, 1), 0)
    surplus, count = _sums(own_deviation**2 - expected, metric), _sums(independent, metric)
    tau_squared = np.maximum(surplus / np.maximum(count, 1e-9), 0)[..., metric]

    others = np.maximum(size - 1, 1)
    prior = np.exp((total - logs) / others)
    uncertainty = tau_squared * (1 + 1 / others) + (errors - error) / others**2
    has_kin = known & (size > 1)
    weight = np.where(has_kin, 2 * _inverse_trigamma(np.where(has_kin, uncertainty, 1)), 0)
    whole = np.maximum(freedom + weight, 1e-9)
    return Noise((weight * prior + freedom * variance) / whole, freedom + weight)


def _sums(values: Numbers, group: Indices) -> Numbers:
    """Sums along the last axis by group; the last axis of the result is the group's number."""
    sums = np.zeros((int(group.max(initial=-1)) + 1, *values.shape[:-1]))
    np.add.at(sums, group, np.moveaxis(values, -1, 0))
    return np.asarray(np.moveaxis(sums, 0, -1))


def _inverse_trigamma(values: Numbers) -> Numbers:
    """The x with trigamma(x) = value, by Newton's method on 1/trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / values
    for _ in range(_STEPS):
        found = special.polygamma(1, x)
        x = x + found * (1 - found / values) / special.polygamma(2, x)
    return np.asarray(x)
