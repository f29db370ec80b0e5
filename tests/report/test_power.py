"""Error rates of verdicts, tested with simulated runs of known truth.

A run here is a baseline, 3 designs and the A/A arm on 3 paths, each with 3 metrics: 36 comparisons. Bounds are those of
an exact binomial confidence interval of 99%, so that a pass is not chance. Seeds are fixed.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from testbed.experiment.results import Histogram, Sample, binned
from testbed.experiment.schedule import is_look
from testbed.report import paired, statistics
from testbed.report.moderation import moderated
from testbed.report.paired import Decisions, Layout, coverage, decide, holm, intervals, pooled_interval, t_test

Numbers = npt.NDArray[np.float64]

PATHS, METRICS = 3, ("rtt_p50", "rtt_p99", "throughput")
ARMS = ("baseline", "aa", "a", "b", "c")
NOISE = np.array([0.01, 0.1, 0.06])
"""The standard deviation of each metric's logarithm from round to round, about that of real runs."""
UNEQUAL = np.array([1, 1, 0.5, 1, 2])
"""The noise of each arm, relative to the baseline; A/A equals the baseline."""
ONES = np.ones((PATHS, 1, 1, 1))
CORRELATION = np.linalg.cholesky(np.array([[1, 0.7, -0.4], [0.7, 1, -0.3], [-0.4, -0.3, 1]]))
"""A disturbance affects every metric: the Cholesky factor of their correlation."""

COMPARISONS = PATHS * len(METRICS) * (len(ARMS) - 1)
_INDEX = np.arange(COMPARISONS)
ALL_HEADLINE = Layout(
    aa=np.where(_INDEX % 4 == 0, -1, _INDEX // 4 * 4),
    kin=_INDEX % 12,
    metric=_INDEX // 4 % 3,
    headline=np.ones(COMPARISONS, dtype=np.bool_),
)
"""All comparisons in the family of the stricter correction."""
REAL = replace(ALL_HEADLINE, headline=np.isin(_INDEX // 4 % 3, [0, 2]))
"""As in a report: RTT p50 and throughput are headlines, RTT p99 is not."""
DESIGNS = np.flatnonzero(ALL_HEADLINE.aa >= 0)

NOISES = ("log-normal", "heavy tails", "rounds are hit")
UNLIKE = {
    "one design in user space": np.array([1, 1, 1, 1, 5]),
    "noisy baseline": np.array([4, 4, 1, 1, 1]),
    "quiet baseline": np.array([0.3, 0.3, 1, 1, 1]),
    "one quiet design": np.array([1, 1, 1, 1, 0.2]),
}
"""Designs whose noise differs much more than that of the others."""
PATHS_DIFFER = np.array([0.3, 1, 3])[:, None, None, None]
"""The noise of each path, if paths differ."""
ROUNDS = (5, 7, 10, 20)


def simulate(kind: str, runs: int, n: int, seed: int, unequal: Numbers = UNEQUAL, paths: Numbers = ONES) -> Numbers:
    """Logarithms of values in which no arm differs, of shape (runs, paths, metrics, arms, n rounds).

    Each round has a disturbance common to all arms; further disturbances depend on `kind`.
    """
    random = np.random.default_rng(seed)
    shape = (runs, PATHS, len(METRICS), len(ARMS), n)
    noise = np.einsum("ij,rpjan->rpian", CORRELATION, random.standard_normal(shape))
    if kind == "heavy tails":  # Student's t with 3 degrees of freedom; an outlier affects all metrics
        noise /= np.sqrt(random.chisquare(3, (runs, PATHS, 1, len(ARMS), n)) / 3)
    noise *= NOISE[:, None, None] * unequal[:, None] * paths
    noise += random.normal(0, 0.1, (runs, PATHS, len(METRICS), 1, n))
    if kind == "rounds are hit":  # 5% of the rounds lose 30%, of which each arm has a random share
        hit = random.random((runs, PATHS, 1, 1, n)) < 0.05
        noise += hit * math.log(0.7) * random.uniform(0.8, 1, shape)
    if kind == "single measurements are hit":
        noise += (random.random((runs, PATHS, 1, len(ARMS), n)) < 0.05) * math.log(0.7)
    if kind == "drift within a round":  # by as much as the noise, from one arm to the next
        turns = random.permuted(np.broadcast_to(np.arange(len(ARMS))[:, None], shape), axis=3)
        noise += turns * NOISE[:, None, None]
    return noise


def log_ratios(kind: str, runs: int, n: int, seed: int, unequal: Numbers = UNEQUAL, paths: Numbers = ONES) -> Numbers:
    values = simulate(kind, runs, n, seed, unequal, paths)
    return (values[..., 1:, :] - values[..., :1, :]).reshape(runs, COMPARISONS, n)


def at_most(times: int, of: int) -> float:
    """The upper limit of the probability of an event seen so often, with 99% confidence."""
    return float(stats.binomtest(times, of, alternative="less").proportion_ci(0.99).high)


def at_least(times: int, of: int) -> float:
    """The lower limit of the probability of an event seen so often, with 99% confidence."""
    return float(stats.binomtest(times, of, alternative="greater").proportion_ci(0.99).low)


def has_verdict(decisions: Decisions) -> npt.NDArray[np.bool_]:
    """Whether a run has any verdict, on a design or on A/A."""
    return np.asarray((decisions.side != 0).any(axis=-1))


@pytest.mark.parametrize("n", ROUNDS)
@pytest.mark.parametrize("kind", NOISES)
def test_at_most_5_percent_of_runs_have_a_false_verdict(kind: str, n: int) -> None:
    batches = [has_verdict(decide(log_ratios(kind, 4_000, n, seed), ALL_HEADLINE)) for seed in range(20, 23)]
    false = np.concatenate(batches)
    assert at_most(false.sum(), len(false)) <= 0.05


@pytest.mark.parametrize("unequal", UNLIKE.values(), ids=UNLIKE)
def test_sharing_noise_among_paths_adds_no_false_verdicts_if_designs_differ(unequal: Numbers) -> None:
    false = has_verdict(decide(log_ratios("log-normal", 12_000, 5, 31, unequal, PATHS_DIFFER), ALL_HEADLINE))
    assert at_most(false.sum(), len(false)) <= 0.05


def test_sharing_noise_among_designs_would_add_false_verdicts() -> None:
    """The usual estimate: the baseline's noise is in all comparisons, and a noisy design hides among quiet ones."""
    logs = log_ratios("log-normal", 2_000, 5, 31, UNLIKE["noisy baseline"])
    of_metric = replace(ALL_HEADLINE, kin=ALL_HEADLINE.metric)
    p_values = {}
    for name, layout in (("among paths", ALL_HEADLINE), ("among designs", of_metric)):
        noise = moderated(logs.var(axis=-1, ddof=1), np.full(logs.shape[:-1], 4.0), layout.kin, layout.metric)
        n = np.full(logs.shape[:-1], 5)
        p_values[name] = holm(t_test(logs.mean(axis=-1), np.sqrt(noise.variance), n, noise.freedom))
    false = {name: (values < 0.05).any(axis=-1).mean() for name, values in p_values.items()}
    assert false["among paths"] <= 0.05 < false["among designs"]


@pytest.mark.parametrize("n", (5, 10))
@pytest.mark.parametrize("kind", NOISES)
def test_at_most_5_percent_of_other_verdicts_are_false(kind: str, n: int) -> None:
    """On average over runs, and with a third of the designs' comparisons that differ."""
    logs, true = log_ratios(kind, 4_000, n, seed=32), np.zeros(COMPARISONS, dtype=np.bool_)
    true[DESIGNS[::3]] = True
    logs[:, true] += 0.5
    no_headline = replace(ALL_HEADLINE, headline=np.zeros(COMPARISONS, dtype=np.bool_))
    side = decide(logs, no_headline).side
    false, all_ = ((side != 0) & ~true).sum(axis=-1), np.maximum((side != 0).sum(axis=-1), 1)
    share = false / all_
    assert share.mean() + 2.33 * share.std() / math.sqrt(len(share)) <= 0.05


@pytest.mark.parametrize("kind", NOISES)
def test_sharing_noise_detects_smaller_differences(kind: str) -> None:
    """With five rounds, compared with noise that each comparison knows from its own rounds."""
    logs = log_ratios(kind, 1_000, 5, seed=33)
    alone = replace(ALL_HEADLINE, kin=np.arange(COMPARISONS))
    shared, own = (np.median(decide(logs, layout).smallest, axis=0)[DESIGNS] for layout in (ALL_HEADLINE, alone))
    assert (shared < 0.6 * own).all()


@pytest.mark.parametrize("kind", NOISES)
def test_repeated_looks_do_not_add_false_verdicts(kind: str) -> None:
    logs = log_ratios(kind, 4_000, 40, seed=2)
    looks = [n for n in range(1, 41) if is_look(n)]
    assert looks == [5, 10, 20, 40]
    ever = np.any([has_verdict(decide(logs[..., :n], ALL_HEADLINE, look)) for look, n in enumerate(looks, 1)], axis=0)
    assert at_most(ever.sum(), len(ever)) <= 0.05


@pytest.fixture
def without_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the smallest detectable differences, which take most of the time and affect no verdict."""
    monkeypatch.setattr(paired, "smallest_effect", lambda sd, *_: sd)


only_verdicts = pytest.mark.usefixtures("without_claims")

RESUMED = (5, 6, 7, 8, 10, 12, 16, 20, 30, 40)
"""The rounds after which an impatient reader resumes a run; more often than any recommended number of rounds."""


@only_verdicts
@pytest.mark.parametrize("kind", NOISES)
def test_resuming_a_run_until_it_has_a_verdict_adds_no_false_ones(kind: str) -> None:
    """If nothing differs, at most 5% of runs ever have a verdict, however often they are resumed."""
    logs = log_ratios(kind, 1_500, RESUMED[-1], seed=41, unequal=UNLIKE["one design in user space"])
    open_ = np.ones(len(logs), dtype=np.bool_)
    for look, n in enumerate(RESUMED, 1):
        open_[open_] = ~has_verdict(decide(logs[open_][..., :n], ALL_HEADLINE, look))
    assert at_most((~open_).sum(), len(open_)) <= 0.05


@only_verdicts
def test_resuming_without_counting_the_looks_would_add_false_verdicts() -> None:
    logs = log_ratios("log-normal", 1_000, RESUMED[-1], seed=42)
    ever = np.any([has_verdict(decide(logs[..., :n], ALL_HEADLINE, look=1)) for n in RESUMED], axis=0)
    assert at_least(ever.sum(), len(ever)) > 0.05


@only_verdicts
@pytest.mark.parametrize("kind", NOISES)
def test_other_verdicts_of_a_resumed_run_are_seldom_false(kind: str) -> None:
    """The reader stops at the first look at which all true differences are resolved."""
    true = np.zeros(COMPARISONS, dtype=np.bool_)
    true[DESIGNS[::3]] = True
    logs = log_ratios(kind, 1_500, 20, seed=43)
    logs[:, true] += 0.25
    no_headline = replace(ALL_HEADLINE, headline=np.zeros(COMPARISONS, dtype=np.bool_))
    shares, open_ = np.zeros(len(logs)), np.ones(len(logs), dtype=np.bool_)
    for look, n in enumerate((5, 7, 10, 14, 20), 1):
        side = decide(logs[open_][..., :n], no_headline, look).side
        shares[open_] = ((side != 0) & ~true).sum(axis=-1) / np.maximum((side != 0).sum(axis=-1), 1)
        open_[open_] = ~(side[:, true] != 0).all(axis=-1)
    assert shares.mean() + 2.33 * shares.std() / math.sqrt(len(shares)) <= 0.05


@only_verdicts
def test_the_number_of_rounds_that_is_said_to_resolve_a_difference_does() -> None:
    """The noise seen may be too small by chance, so it is not 90% as with the true noise, but most of them."""
    runs, n = 1_500, 5
    logs = log_ratios("log-normal", runs, 64, seed=44)
    run = np.arange(runs)
    design = DESIGNS[run % len(DESIGNS)]
    logs[run, design] += 2.5 * NOISE[design // 4 % 3][:, None]
    first = decide(logs[..., :n], ALL_HEADLINE, look=1)
    needed, open_ = first.needed[run, design], first.side[run, design] == 0
    told = open_ & (needed <= 64)
    assert told.sum() > 300
    resolved = [
        decide(logs[i : i + 1, :, : int(needed[i])], ALL_HEADLINE, look=2).side[0, design[i]] > 0
        for i in np.flatnonzero(told)[:200]
    ]
    assert np.mean(resolved) >= 0.75


HARD = {
    "user space, heavy tails": ("heavy tails", UNLIKE["one design in user space"], PATHS_DIFFER),
    "user space, rounds are hit": ("rounds are hit", UNLIKE["one design in user space"], PATHS_DIFFER),
    "noisy baseline, heavy tails": ("heavy tails", UNLIKE["noisy baseline"], ONES),
    "one quiet design, rounds are hit": ("rounds are hit", UNLIKE["one quiet design"], PATHS_DIFFER),
}
"""Several departures from equal normal noise at once."""


@only_verdicts
@pytest.mark.parametrize("n", (5, 8))
@pytest.mark.parametrize("hard", HARD.values(), ids=HARD)
def test_few_runs_have_a_false_verdict_if_several_things_go_wrong(hard: tuple[str, Numbers, Numbers], n: int) -> None:
    kind, unequal, paths = hard
    decided = decide(log_ratios(kind, 4_000, n, 45, unequal, paths), REAL)
    false = ((decided.side != 0) & REAL.headline).any(axis=-1)
    assert at_most(false.sum(), len(false)) <= 0.05


@only_verdicts
@pytest.mark.parametrize("hard", HARD.values(), ids=HARD)
def test_few_other_verdicts_are_false_if_several_things_go_wrong(hard: tuple[str, Numbers, Numbers]) -> None:
    kind, unequal, paths = hard
    true = np.zeros(COMPARISONS, dtype=np.bool_)
    true[DESIGNS[::3]] = True
    logs = log_ratios(kind, 2_000, 8, 46, unequal, paths)
    logs[:, true] += 0.5
    side = np.where(REAL.headline, 0, decide(logs, REAL).side)
    share = ((side != 0) & ~true).sum(axis=-1) / np.maximum((side != 0).sum(axis=-1), 1)
    assert share.mean() + 2.33 * share.std() / math.sqrt(len(share)) <= 0.05


def seen(kind: str, n: int, runs: int = 4_000) -> npt.NDArray[np.bool_]:
    """Whether a new run correctly resolves a difference of the size that an earlier run claims to detect.

    In each new run only one comparison differs, which is the hardest case for Holm's correction.
    """
    claims = decide(log_ratios(kind, runs, n, seed=3), ALL_HEADLINE).smallest
    fresh = log_ratios(kind, runs, n, seed=4)
    run = np.arange(runs)
    design, side = DESIGNS[run % len(DESIGNS)], np.where(run % 2, 1, -1)
    fresh[run, design] += (side * claims[run, design])[:, None]
    return np.asarray(decide(fresh, ALL_HEADLINE).side[run, design] == side)


@pytest.mark.parametrize("n", ROUNDS)
@pytest.mark.parametrize("kind", NOISES)
def test_a_difference_of_the_claimed_size_is_detected_with_90_percent_probability(kind: str, n: int) -> None:
    found = seen(kind, n)
    assert at_least(found.sum(), len(found)) >= 0.9


def needed(logs: Numbers) -> Numbers:
    """For each comparison: the difference that 90% of runs detect by the t test."""
    n = logs.shape[-1]
    critical = stats.t.isf(paired.ALPHA / COMPARISONS / 2, n - 1)
    return np.quantile(critical * logs.std(axis=-1, ddof=1) / math.sqrt(n) - logs.mean(axis=-1), 0.9, axis=0)


@pytest.mark.parametrize(("n", "times"), [(5, 2.5), (7, 2), (10, 1.75), (20, 1.5)])
@pytest.mark.parametrize("kind", NOISES)
def test_the_claimed_size_is_not_much_larger_than_needed(kind: str, n: int, times: float) -> None:
    logs = log_ratios(kind, 2_000, n, seed=5)
    claimed = np.median(decide(logs, ALL_HEADLINE).smallest, axis=0)
    assert (claimed[DESIGNS] < times * needed(logs)[DESIGNS]).all()


@pytest.mark.parametrize("n", ROUNDS)
def test_rare_disturbances_weaken_the_claim_but_not_the_verdicts(n: int) -> None:
    """5% of the measurements lose 30%, with noise of 1 to 10%: most short runs have comparisons without any."""
    kind = "single measurements are hit"
    false = has_verdict(decide(log_ratios(kind, 2_000, n, seed=6), ALL_HEADLINE))
    assert at_most(false.sum(), len(false)) <= 0.05
    found = seen(kind, n)
    assert at_least(found.sum(), len(found)) >= 0.84


@pytest.mark.parametrize("n", ROUNDS)
def test_drift_within_rounds_adds_few_false_verdicts(n: int) -> None:
    """Differences of positions in a round have no tails; for these the t test is not conservative."""
    false = has_verdict(decide(log_ratios("drift within a round", 4_000, n, seed=7), ALL_HEADLINE))
    assert at_most(false.sum(), len(false)) <= 0.09


def test_reports_decide_like_the_simulation() -> None:
    for run, values in enumerate(simulate("heavy tails", 10, 7, seed=8)):
        values[:, :, 3] += 0.3  # so that some are resolved
        logs = (values[..., 1:, :] - values[..., :1, :]).reshape(COMPARISONS, -1)
        expected = decide(logs, REAL, look=2)
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
def test_intervals_contain_the_true_median_as_often_as_claimed(kind: str, n: int) -> None:
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
def test_intervals_of_pooled_percentiles_contain_the_true_one(n: int) -> None:
    """Few rounds make the tail, so the interval of p99 is wrong more often than that of p50."""
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
    """1,000 round-trip times in each of n rounds, which differ in level and in the share of slow ones."""
    level, slow = random.normal(0, 0.05, (n, 1)), 0.02 * np.exp(random.normal(0, 0.5, (n, 1)))
    waits = (random.random((n, 1_000)) < slow) * random.exponential(0.5, (n, 1_000))
    return np.asarray(20 * np.exp(level + random.normal(0, 0.05, (n, 1_000)) + waits))
