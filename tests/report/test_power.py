"""What the verdicts promise, held against simulated runs of known truth.

A run here is 4 designs and the A/A arm on 3 paths, each with 3 metrics: 36 comparisons. The bounds are those of an
exact binomial confidence interval of 99%, so a pass is no luck, and seeds are fixed.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from testbed.experiment.results import Histogram, Sample, binned
from testbed.experiment.schedule import is_look
from testbed.report import paired, statistics
from testbed.report.paired import Decisions, coverage, decide, intervals, pooled_interval

Numbers = npt.NDArray[np.float64]

PATHS, METRICS = 3, ("rtt_p50", "rtt_p99", "throughput")
ARMS = ("baseline", "aa", "a", "b", "c")
NOISE = np.array([0.01, 0.1, 0.06])
"""The standard deviation of each metric's logarithm from round to round, about that of real runs."""
UNEQUAL = np.array([1, 1, 0.5, 1, 2])
"""How noisy each arm is, compared with the baseline, which A/A is again."""
LIKE = np.linalg.cholesky(np.array([[1, 0.7, -0.4], [0.7, 1, -0.3], [-0.4, -0.3, 1]]))
"""A bad moment is bad for every metric: their correlation."""

COMPARISONS = PATHS * len(METRICS) * (len(ARMS) - 1)
AA = np.array([-1 if c % 4 == 0 else c // 4 * 4 for c in range(COMPARISONS)])
"""For each comparison, the A/A arm's of the same path and metric."""
DESIGNS = np.flatnonzero(AA >= 0)

NOISES = ("log-normal", "heavy tails", "rounds are hit")
ROUNDS = (5, 7, 10, 20)


def simulate(kind: str, runs: int, n: int, seed: int) -> Numbers:
    """Logarithms of values in which no arm differs, of shape (runs, paths, metrics, arms, n rounds).

    Every round disturbs all arms in common; what else happens depends on `kind`.
    """
    random = np.random.default_rng(seed)
    shape = (runs, PATHS, len(METRICS), len(ARMS), n)
    noise = np.einsum("ij,rpjan->rpian", LIKE, random.standard_normal(shape))
    if kind == "heavy tails":  # Student's t with 3 degrees of freedom, an outlier being one in all metrics
        noise /= np.sqrt(random.chisquare(3, (runs, PATHS, 1, len(ARMS), n)) / 3)
    noise *= NOISE[:, None, None] * UNEQUAL[:, None]
    noise += random.normal(0, 0.1, (runs, PATHS, len(METRICS), 1, n))
    if kind == "rounds are hit":  # one in twenty loses 30%, of which each arm bears its own share
        hit = random.random((runs, PATHS, 1, 1, n)) < 0.05
        noise += hit * math.log(0.7) * random.uniform(0.8, 1, shape)
    if kind == "single measurements are hit":
        noise += (random.random((runs, PATHS, 1, len(ARMS), n)) < 0.05) * math.log(0.7)
    if kind == "drift within a round":  # by as much as the noise, from each arm's turn to the next one's
        turns = random.permuted(np.broadcast_to(np.arange(len(ARMS))[:, None], shape), axis=3)
        noise += turns * NOISE[:, None, None]
    return noise


def log_ratios(kind: str, runs: int, n: int, seed: int) -> Numbers:
    values = simulate(kind, runs, n, seed)
    return (values[..., 1:, :] - values[..., :1, :]).reshape(runs, COMPARISONS, n)


def at_most(times: int, of: int) -> float:
    """The probability of what was seen so often is no larger than this, with 99% certainty."""
    return float(stats.binomtest(times, of, alternative="less").proportion_ci(0.99).high)


def at_least(times: int, of: int) -> float:
    return float(stats.binomtest(times, of, alternative="greater").proportion_ci(0.99).low)


def errs(decisions: Decisions) -> npt.NDArray[np.bool_]:
    """Whether a run in which nothing differs has a verdict, on a design or on A/A."""
    return np.asarray((decisions.side != 0).any(axis=-1))


@pytest.mark.parametrize("n", ROUNDS)
@pytest.mark.parametrize("kind", NOISES)
def test_at_most_one_run_in_twenty_has_any_false_verdict(kind: str, n: int) -> None:
    batches = [errs(decide(log_ratios(kind, 4_000, n, seed), AA)) for seed in range(20, 23)]
    false = np.concatenate(batches)
    assert at_most(false.sum(), len(false)) <= 0.05


@pytest.mark.parametrize("kind", NOISES)
def test_looking_again_and_again_buys_no_false_verdicts(kind: str) -> None:
    logs = log_ratios(kind, 4_000, 40, seed=2)
    looks = [n for n in range(1, 41) if is_look(n)]
    assert looks == [5, 10, 20, 40]
    ever = np.any([errs(decide(logs[..., :n], AA, look)) for look, n in enumerate(looks, 1)], axis=0)
    assert at_most(ever.sum(), len(ever)) <= 0.05


def seen(kind: str, n: int, runs: int = 4_000) -> npt.NDArray[np.bool_]:
    """Whether a fresh run resolves a design's difference, rightly, that is as large as an earlier run claims to see.

    In each fresh run one comparison differs and all others do not, which is the hardest for Holm's correction.
    """
    claims = decide(log_ratios(kind, runs, n, seed=3), AA).smallest
    fresh = log_ratios(kind, runs, n, seed=4)
    run = np.arange(runs)
    design, side = DESIGNS[run % len(DESIGNS)], np.where(run % 2, 1, -1)
    fresh[run, design] += (side * claims[run, design])[:, None]
    return np.asarray(decide(fresh, AA).side[run, design] == side)


@pytest.mark.parametrize("n", ROUNDS)
@pytest.mark.parametrize("kind", NOISES)
def test_a_difference_of_the_claimed_size_is_seen_nine_times_in_ten(kind: str, n: int) -> None:
    found = seen(kind, n)
    assert at_least(found.sum(), len(found)) >= 0.9


def needed(logs: Numbers) -> Numbers:
    """Of each comparison: the difference that nine runs in ten do see by the t test."""
    n = logs.shape[-1]
    critical = stats.t.isf(paired.ALPHA / COMPARISONS / 2, n - 1)
    return np.quantile(critical * logs.std(axis=-1, ddof=1) / math.sqrt(n) - logs.mean(axis=-1), 0.9, axis=0)


@pytest.mark.parametrize(("n", "times"), [(5, 2.5), (7, 2), (10, 1.75), (20, 1.5)])
@pytest.mark.parametrize("kind", NOISES)
def test_the_claim_is_not_much_larger_than_what_is_needed(kind: str, n: int, times: float) -> None:
    logs = log_ratios(kind, 2_000, n, seed=5)
    claimed = np.median(decide(logs, AA).smallest, axis=0)
    assert (claimed[DESIGNS] < times * needed(logs)[DESIGNS]).all()


@pytest.mark.parametrize("n", ROUNDS)
def test_what_no_round_showed_weakens_the_claim_and_not_the_verdicts(n: int) -> None:
    """One measurement in twenty loses 30%, on noise of 1 to 10%: most short runs have comparisons without any."""
    kind = "single measurements are hit"
    false = errs(decide(log_ratios(kind, 2_000, n, seed=6), AA))
    assert at_most(false.sum(), len(false)) <= 0.05
    found = seen(kind, n)
    assert at_least(found.sum(), len(found)) >= 0.85


@pytest.mark.parametrize("n", ROUNDS)
def test_drift_within_rounds_costs_little(n: int) -> None:
    """Differences of places in a row have no tails at all, and for those the t test is not conservative."""
    false = errs(decide(log_ratios("drift within a round", 4_000, n, seed=7), AA))
    assert at_most(false.sum(), len(false)) <= 0.09


def test_reports_decide_as_the_simulation_does() -> None:
    for run, values in enumerate(simulate("heavy tails", 10, 7, seed=8)):
        values[:, :, 3] += 0.3  # so that some are resolved
        logs = (values[..., 1:, :] - values[..., :1, :]).reshape(COMPARISONS, -1)
        expected = decide(logs, AA, look=2)
        summaries = statistics.summarise(statistics.series(as_samples(values)), "baseline", as_histograms(values), 2)
        found = {(s.path, s.metric, s.design): s for s in summaries}
        for c in range(COMPARISONS):
            metric = METRICS[c // 4 % 3]
            summary = found[f"path{c // 12}", metric, ARMS[1 + c % 4]]
            up, down = ("faster", "slower") if metric == "throughput" else ("slower", "faster")
            assert summary.verdict == {1: up, -1: down, 0: "not resolved"}[int(expected.side[c])], run
            assert summary.p_value == pytest.approx(expected.p_value[c])
            assert summary.smallest == pytest.approx(math.expm1(expected.smallest[c]))


def as_samples(values: Numbers) -> Iterator[Sample]:
    for (path, metric, arm, round_), value in np.ndenumerate(np.exp(values)):
        probe = "throughput" if metric == 2 else "latency"
        where = (round_ + 1, 1, "", ARMS[arm], f"path{path}", probe, METRICS[metric], "")
        yield Sample(*where, float(value), "")


def as_histograms(values: Numbers) -> Iterator[Histogram]:
    for path, arm, round_ in np.ndindex(PATHS, len(ARMS), values.shape[-1]):
        where = (round_ + 1, "", ARMS[arm], f"path{path}", "latency")
        yield Histogram(*where, "rtt", "us", *binned(np.exp(values[path, :2, arm, round_])))


@pytest.mark.parametrize("n", ROUNDS)
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "skewed"])
def test_intervals_hold_the_true_median_as_often_as_claimed(kind: str, n: int) -> None:
    random, runs = np.random.default_rng(9), 2_000
    rows = {
        "normal": random.standard_normal((runs, n)),
        "heavy tails": random.standard_t(3, (runs, n)),
        "skewed": random.exponential(size=(runs, n)) - math.log(2),
    }[kind]
    _, low, high = intervals(list(rows)).T
    held = ((low <= 0) & (high >= 0)).mean()
    assert held >= coverage(n) - 3 * math.sqrt(0.05 * 0.95 / runs)
    assert held <= 0.99


@pytest.mark.parametrize("n", ROUNDS)
def test_intervals_of_pooled_percentiles_hold_the_true_one(n: int) -> None:
    """A tail is made by few rounds, and few rounds cannot show it: that of p99 errs more often than that of p50."""
    runs, random = 150, np.random.default_rng(11)
    true = np.percentile(latencies(np.random.default_rng(10), 10_000), [50, 99])
    held = np.zeros(2)
    for _ in range(runs):
        rounds = [
            Histogram(i, "", "d", "p", "q", "rtt", "us", *binned(r)) for i, r in enumerate(latencies(random, n), 1)
        ]
        found = [pooled_interval(rounds, q) for q in (50, 99)]
        held += [interval.low <= value <= interval.high for interval, value in zip(found, true, strict=True)]
    assert held[0] / runs >= 0.88
    assert held[1] / runs >= 0.84


def latencies(random: np.random.Generator, n: int) -> Numbers:
    """1,000 round-trip times in each of n rounds, which differ in their level and in how many of them are slow."""
    level, slow = random.normal(0, 0.05, (n, 1)), 0.02 * np.exp(random.normal(0, 0.5, (n, 1)))
    waits = (random.random((n, 1_000)) < slow) * random.exponential(0.5, (n, 1_000))
    return np.asarray(20 * np.exp(level + random.normal(0, 0.05, (n, 1_000)) + waits))
