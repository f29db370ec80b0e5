"""Statistics of paired rounds, in which both sides were measured: intervals, tests, smallest detectable effects.

Works on arrays of many comparisons or many runs at once, so the simulation in tests/report/test_power.py tests the code
that reports use. All functions are pure: resampling uses a fixed seed, so the same samples give the same numbers. For
rounds that cannot be paired, see `unpaired`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from testbed.experiment.results import Histogram
from testbed.report.moderation import Indices, Numbers, moderated

CONFIDENCE = 0.95
"""The confidence of an interval, if the number of rounds allows it."""
ALPHA = 0.05
"""The probability of one or more false headline verdicts in a run, and the share of other verdicts that is false."""
POWER = 0.9
"""The probability of detecting the smallest effect that a comparison claims to detect."""
SD_CERTAINTY = 0.95
"""The probability that this claim does not underestimate the noise."""
FIRST_SHARE = 0.6
"""The share of ALPHA for the first look at a run. Most runs have no other; a resumed one has more rounds instead."""
MIN_ROUNDS_FOR_VERDICT = 5
RESAMPLES = 2_000
SEED = 20_261_121


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, in the unit of the values."""

    median: float
    """The estimate: a median over rounds, or a percentile of all rounds' values."""
    low: float
    high: float


@dataclass(frozen=True)
class Decisions:
    """The results of all comparisons; arrays with one entry per comparison."""

    p_value: Numbers
    """Adjusted for the number of comparisons and of looks; NaN if there are too few rounds for a verdict."""
    smallest: Numbers
    """The smallest log ratio that is detected with 90% probability; NaN if there are too few rounds for a verdict."""
    needed: Numbers
    """The number of rounds that would resolve a difference of the size seen at the next look; infinite if it is the
    machine's noise."""
    side: npt.NDArray[np.int_]
    """1: the ratio is above 1; -1: it is below; 0: not resolved."""


def coverage(n: int) -> float:
    """The confidence of an interval of n rounds, 0 to 1.

    All intervals are bootstrap intervals over rounds as in `widened`, nominally of 95%. Up to five rounds the interval
    of a median runs from the smallest to the largest value and contains the true median with a probability of
    1 - 2^(1-n), for any distribution: 93.75% for 5. For tail percentiles it is less, because few rounds make the tail:
    85 to 93% for p99. tests/report/test_power.py measures both.
    """
    return min(CONFIDENCE, 1 - 2.0 ** (1 - n)) if n else 0.0


def widened(n: int) -> float:
    """The nominal confidence at which a percentile bootstrap over n values has a true confidence of 95%.

    The bootstrap uses the spread of n values instead of that of their distribution, and the normal distribution instead
    of Student's; both make intervals too short if n is small. T. C. Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 69 (2015), 371-386 ('expanded percentile interval'), therefore sets the tails
    to Phi(-sqrt(n/(n-1)) t). With 7 rounds, the plain percentile interval of the median and BCa both contain the true
    median in 86 to 88% of cases, the widened one in 98%; with 20 it is 93 to 95% and 95 to 96%.
    """
    t = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return float(1 - 2 * stats.norm.sf(np.sqrt(n / (n - 1)) * t))


def intervals(rows: Sequence[Numbers]) -> Numbers:
    """For each row of values: the median, and the low and high end of its bootstrap interval.

    The ends are those of `scipy.stats.bootstrap` with the method `percentile` at the confidence `widened`, from
    RESAMPLES resamples and their mirror images.
    """
    found = np.empty((len(rows), 3))
    lengths = np.array([len(row) for row in rows], dtype=np.intp)
    for n in np.unique(lengths):
        where = np.flatnonzero(lengths == n)
        for some in np.array_split(where, -(-len(where) // 1024)):  # so that resampled rows need little memory
            found[some] = _intervals(np.stack([rows[i] for i in some]))
    return found


def _intervals(rows: Numbers) -> Numbers:
    """`intervals` for rows of equal length."""
    n = rows.shape[1]
    ascending, median = np.sort(rows, axis=1), np.median(rows, axis=1)
    if n == 1:
        return np.stack([median, median, median], axis=1)
    resampled = ascending[:, _middle_ranks(n)].mean(axis=1)
    tail = (1 - widened(n)) / 2
    return np.vstack([median, np.quantile(resampled, [tail, 1 - tail], axis=1)]).T


@lru_cache(maxsize=64)
def _middle_ranks(n: int) -> Indices:
    """For each resample of n values: the ranks of the two middle values; they are equal if n is odd.

    A median needs only ranks, so ranks are resampled, once for all rows of equal length. The mirror image of each
    resample is added, because the result for two designs must not depend on which one is the baseline.
    """

    def middle(ranks: Numbers, axis: int) -> Numbers:
        ascending = np.sort(ranks, axis=axis)
        return np.stack([ascending[..., (n - 1) // 2], ascending[..., n // 2]])

    rng = np.random.default_rng(SEED)
    found = stats.bootstrap((np.arange(float(n)),), middle, n_resamples=RESAMPLES, method="percentile", rng=rng)
    ranks = found.bootstrap_distribution.astype(np.intp)
    return np.hstack([ranks, n - 1 - ranks[::-1]])


def pooled_interval(rounds: Sequence[Histogram], q: float) -> Interval:
    """The q-th percentile of all rounds' values together, and its interval by resampling whole rounds.

    Values within a round are not independent; rounds are.
    """
    n, values = len(rounds), np.unique(np.concatenate([part.values for part in rounds]))
    up_to = np.zeros((len(values), n))
    """The number of values in each round that are at most each value."""
    for i, part in enumerate(rounds):
        up_to[np.searchsorted(values, part.values), i] = part.counts
    up_to = np.cumsum(up_to, axis=0)

    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    weights = np.vstack([np.ones(n), drawn])  # how often each round was drawn; first, each once
    rank = np.maximum(np.ceil(q / 100 * (weights @ up_to[-1]) - 1e-9), 1)
    low, high = np.zeros(len(weights), dtype=np.intp), np.full(len(weights), len(values) - 1)
    while (low < high).any():  # Bisection, for all resamples at once.
        middle = (low + high) // 2
        reached = np.einsum("rn,rn->r", weights, up_to[middle]) >= rank
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    whole, resampled = values[low[0]], values[low[1:]]
    tail = (1 - widened(n)) / 2 if n > 1 else 0
    return Interval(float(whole), *np.quantile(resampled, [tail, 1 - tail]).tolist())


def alpha(look: int) -> float:
    """The share of ALPHA for the n-th look at a run, counted from 1.

    Each look is one more chance of a false verdict, because a run may be resumed until it has one. The first look gets
    FIRST_SHARE of ALPHA, and each later one half of what is left, so any number of looks together have at most ALPHA
    (Bonferroni's inequality).
    """
    return ALPHA * (FIRST_SHARE if look <= 1 else (1 - FIRST_SHARE) / 2 ** (look - 1))


@dataclass(frozen=True)
class Layout:
    """How the comparisons of a run belong together. Each array has one value per comparison."""

    aa: Indices
    """The index of the A/A comparison of the same cell, path and metric; -1 if there is none."""
    kin: Indices
    """The number of the design and metric: comparisons with equal numbers share what they know of the noise."""
    metric: Indices
    """The number of the metric."""
    headline: npt.NDArray[np.bool_]
    """Whether the metric is one of those that the run is about."""


def decide(logs: Numbers, layout: Layout, look: int = 1) -> Decisions:
    """Decide all comparisons of a run, or of many runs, together, at the n-th look.

    `logs` are log ratios, of shape (..., comparisons, rounds), NaN where a round has none.

    A ratio is resolved if there are `MIN_ROUNDS_FOR_VERDICT` rounds, a paired t test is significant after correction,
    the median exceeds the A/A median, and the median's interval excludes 1. The t test: if a design does not differ
    from the baseline, the two could be swapped in any round, so a log ratio is symmetric about 0 for any noise.
    Student's t is exact for normal noise and conservative for heavy symmetric tails (B. Efron, Student's t-test under
    symmetry conditions, JASA 64, 1969). Its variance is moderated: see `moderation`. A rank test needs no such
    assumption, but with five rounds its p value cannot go below 1/16, so it could never be significant after
    correction.

    The correction: headline comparisons are one family, in which the probability of one or more false verdicts is at
    most ALPHA (Holm); all others are a second one, of whose verdicts at most a share of ALPHA is false on average
    (Benjamini and Hochberg).
    """
    present = ~np.isnan(logs)
    n = present.sum(axis=-1)
    enough = n >= MIN_ROUNDS_FOR_VERDICT
    mean = np.where(present, logs, 0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(present, logs - mean[..., None], 0) ** 2
    variance = squares.sum(axis=-1) / np.maximum(n - 1, 1)
    noise = moderated(variance, np.where(enough, n - 1.0, 0), layout.kin, layout.metric)
    sd = np.sqrt(noise.variance)
    middle = np.abs(_medians(logs, n))
    floor = np.where(layout.aa >= 0, middle[..., layout.aa], 0)

    p_values = np.where(enough, t_test(mean, sd, n, noise.freedom), np.nan)
    first, second = (np.where(which, p_values, np.nan) for which in (layout.headline, ~layout.headline))
    adjusted = np.where(layout.headline, holm(first), benjamini_hochberg(second)) * ALPHA / alpha(look)
    likely = (adjusted < ALPHA) & (middle > floor)
    side = np.zeros(likely.shape, dtype=np.int_)
    found = intervals([row[~np.isnan(row)] for row in logs[likely]])
    side[likely] = np.where(found[:, 1] > 0, 1, np.where(found[:, 2] < 0, -1, 0))

    number = [(enough & which).sum(axis=-1, keepdims=True) for which in (layout.headline, ~layout.headline)]
    size = np.broadcast_to(np.maximum(np.where(layout.headline, *number), 1), n.shape)
    strictest = alpha(look) / size
    smallest = np.full(n.shape, np.nan)
    arguments = (sd, n, noise.freedom, floor, strictest)
    smallest[enough] = smallest_effect(*(argument[enough] for argument in arguments))
    needed = np.full(n.shape, np.inf)
    open_ = enough & (side == 0)
    further = (sd, middle - floor, n, noise.freedom, alpha(look + 1) / size)
    needed[open_] = rounds_needed(*(argument[open_] for argument in further))
    return Decisions(np.minimum(adjusted, 1), smallest, needed, side)


def t_test(mean: Numbers, sd: Numbers, n: Indices, freedom: Numbers) -> Numbers:
    """The two-sided p value for a mean of 0 of n numbers; 0 or 1 if all are equal.

    `freedom` is the number of degrees of freedom with which the standard deviation is known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0, np.abs(mean) / (sd / np.sqrt(n)))
    return np.asarray(2 * special.stdtr(np.maximum(freedom, 1), -t))


def _medians(logs: Numbers, n: Indices) -> Numbers:
    """Medians along the last axis of the n numbers that are not NaN; 0 if there are none."""
    ascending = np.sort(logs, axis=-1)  # NaN last
    halves = [
        np.take_along_axis(ascending, np.maximum(k, 0)[..., None], axis=-1)[..., 0] for k in ((n - 1) // 2, n // 2)
    ]
    return np.where(n > 0, (halves[0] + halves[1]) / 2, 0)


def holm(p_values: Numbers) -> Numbers:
    """P values adjusted for their number along the last axis.

    The probability of one or more false positives below a level is at most the level, for dependent tests too. Results
    may exceed 1; NaN are not counted. S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian
    Journal of Statistics 6 (1979), 65-70.
    """
    order = np.argsort(p_values, axis=-1)  # NaN last
    left = (~np.isnan(p_values)).sum(axis=-1, keepdims=True) - np.arange(p_values.shape[-1])
    adjusted = np.maximum.accumulate(np.take_along_axis(p_values, order, axis=-1) * left, axis=-1)
    back = np.empty_like(p_values)
    np.put_along_axis(back, order, adjusted, axis=-1)
    return back


def benjamini_hochberg(p_values: Numbers) -> Numbers:
    """P values adjusted along the last axis so that below a level at most a share of that level is false on average.

    NaN are not counted. Y. Benjamini, Y. Hochberg, Controlling the false discovery rate, Journal of the Royal
    Statistical Society B 57 (1995), 289-300; it holds for positively dependent tests, such as those of designs that
    share a baseline (Benjamini and Yekutieli 2001).
    """
    order = np.argsort(p_values, axis=-1)  # NaN last
    number = (~np.isnan(p_values)).sum(axis=-1, keepdims=True)
    scaled = np.take_along_axis(p_values, order, axis=-1) * number / np.arange(1, p_values.shape[-1] + 1)
    adjusted = np.fmin.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    back = np.empty_like(p_values)
    np.put_along_axis(back, order, adjusted, axis=-1)
    return np.where(np.isnan(p_values), np.nan, back)


def smallest_effect(sd: Numbers, n: Indices, freedom: Numbers, floor: Numbers, level: Numbers) -> Numbers:
    """The smallest true log ratio that a run like this one resolves with 90% probability.

    `sd` is the standard deviation of `n` log ratios, known with `freedom` degrees of freedom, `floor` the A/A median,
    `level` the limit of the p value: alpha over the number of comparisons, the strictest step of either correction,
    which a single difference must pass.

    If the true log ratio is d, sqrt(n) mean/sd has the noncentral t distribution with noncentrality sqrt(n) d/sigma; so
    the t test requires d = delta sigma/sqrt(n), with the delta that puts 90% above the critical t. To exceed the floor,
    d must be larger by the 90th percentile of a median's error, sqrt(pi/2) sigma/sqrt(n) times that of a normal one.
    That the interval excludes 1 requires what 90% of the intervals around 0 reach. For sigma, the upper 95% limit
    sd sqrt(f/chi2(f)) is used, because the sd found may be too small by chance.

    Disturbances that none of the rounds had are not included: if single measurements are disturbed rarely but strongly,
    the probability is lower. tests/report/test_power.py measures it.
    """
    steps = np.maximum(np.floor(np.minimum(freedom, _MOST_FREEDOM) * _STEPS_OF_FREEDOM), 1) / _STEPS_OF_FREEDOM
    cases, where = np.unique(np.stack([n, steps, level], axis=-1), axis=0, return_inverse=True)
    multiples = np.array([_multiples(int(n), freedom, level) for n, freedom, level in cases.tolist()]).reshape(-1, 2)
    by_test_or_interval, by_floor = multiples[where.reshape(-1)].T
    return np.asarray(np.maximum(by_test_or_interval * sd, floor + by_floor * sd))


def rounds_needed(sd: Numbers, difference: Numbers, n: Indices, freedom: Numbers, level: Numbers) -> Numbers:
    """The number of rounds that resolve a true log ratio of this size with 90% probability; infinite for 0 or less.

    `sd` is known from `n` rounds with `freedom` degrees of freedom; each further round adds one. More degrees need
    fewer rounds, so the number is approached from the normal distribution, which has infinitely many.
    """
    is_there = difference > 0
    sds = sd / np.where(is_there, difference, 1)
    found = np.full(np.shape(sd), float(MOST_ROUNDS))
    for _ in range(_STEPS_OF_ROUNDS):
        then = np.maximum(freedom + found - n, 1)
        limits = -special.stdtrit(then, level / 2) + special.stdtrit(then, POWER)
        found = np.clip(np.ceil((limits * sds) ** 2), MIN_ROUNDS_FOR_VERDICT, MOST_ROUNDS)
    return np.asarray(np.where(is_there & (found < MOST_ROUNDS), found, np.inf))


MOST_ROUNDS = 100_000
"""So many rounds are as good as infinitely many."""
_STEPS_OF_ROUNDS = 3
"""After three, the number changes by less than a round."""


_STEPS_OF_FREEDOM = 2
"""Degrees of freedom are rounded down to halves, so that few cases need computing."""
_MOST_FREEDOM = 200
"""More degrees of freedom change nothing."""


@lru_cache(maxsize=4096)
def _multiples(n: int, freedom: float, level: float) -> tuple[float, float]:
    """The multiples of the sd found that a log ratio needs to pass the test and the interval, and to exceed a floor."""
    critical = float(stats.t.isf(level / 2, freedom))
    delta = optimize.brentq(lambda delta: stats.nct.sf(critical, freedom, delta) - POWER, 0, 10 + 3 * critical)
    error = np.sqrt(freedom / stats.chi2.ppf(1 - SD_CERTAINTY, freedom) / n)
    excluded = max(delta, np.sqrt(n) * _reach(n))
    return float(excluded * error), float(stats.norm.ppf(POWER) * np.sqrt(np.pi / 2) * error)


@lru_cache(maxsize=64)
def _reach(n: int) -> float:
    """How far 90% of the intervals of n normal values reach below their true median, in standard deviations."""
    normal = np.random.default_rng(SEED).standard_normal((RESAMPLES, n))
    return float(-np.quantile(intervals(list(normal))[:, 1], 1 - POWER))
