import csv
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from testbed.experiment.results import Histogram, Sample, binned
from testbed.report import paired, statistics
from testbed.report.paired import alpha, coverage, holm, intervals, pooled_interval, smallest_effect, widened
from testbed.report.statistics import Series, Summary

Rounds = Mapping[int, float | None]

positive = st.floats(min_value=0.1, max_value=1000)
several = st.lists(st.tuples(positive, positive), min_size=5, max_size=12)


def samples(
    design: str, values: Rounds, metric: str = "throughput", probe: str = "probe", cell: str = "", path: str = "path"
) -> list[Sample]:
    return [
        Sample(round_, 1, cell, design, path, probe, metric, "unit", value, "", "" if value else "no answer")
        for round_, value in values.items()
    ]


def histograms(found: list[Sample]) -> list[Histogram]:
    """Raw values for each percentile; all values of a round are equal."""
    return [
        Histogram(s.round, s.cell, s.design, s.path, s.probe, "rtt", s.unit, np.array([s.value]), np.array([10_000]))
        for s in found
        if s.metric.startswith("rtt_") and s.value is not None
    ]


def summarised(
    base: Rounds, other: Rounds, metric: str = "throughput", aa: Rounds | None = None, look: int = 1
) -> dict[str, Summary]:
    """Summaries by design: `base`, `other` and, if given, `aa`."""
    found = samples("base", base, metric) + samples("other", other, metric) + samples("aa", aa or {}, metric)
    whole = statistics.summarise(statistics.series(found), "base", histograms(found), look)
    return {s.design: s for s in whole if s.metric == metric}


def by_round(values: list[float]) -> dict[int, float | None]:
    return dict(enumerate(values, 1))


ONES = by_round([1.0] * 5)


def test_medians_ratios_and_intervals_of_known_numbers() -> None:
    found = summarised(by_round([10, 20, 10, 20, 10]), by_round([5, 12, 8, 18, 7]))
    base, other = found["base"], found["other"]
    assert (base.rounds, base.median, base.ci_low, base.ci_high) == (5, 10, 10, 20)
    assert base.verdict == "baseline"
    assert (other.median, other.ci_low, other.ci_high) == (8, 5, 18)
    assert (other.ratio, other.ratio_low, other.ratio_high) == pytest.approx((0.7, 0.5, 0.9))
    assert other.verdict == "slower"


def test_the_p_value_is_of_a_paired_t_test_on_logarithms() -> None:
    base, other = [10.0, 20, 10, 20, 10], [5.0, 12, 8, 18, 7]
    expected = stats.ttest_rel(np.log(other), np.log(base)).pvalue
    assert summarised(by_round(base), by_round(other))["other"].p_value == pytest.approx(expected / paired.FIRST_SHARE)


def test_the_ratio_is_per_round_and_not_of_medians() -> None:
    other = summarised(by_round([1, 2, 3, 4, 100]), by_round([2, 4, 6, 8, 200]))["other"]
    assert (other.ratio, other.ratio_low, other.ratio_high) == pytest.approx((2, 2, 2))


def test_the_warm_up_never_counts() -> None:
    warm: Rounds = {0: 1000.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}
    found = summarised(warm, {**warm, 0: 0.001})
    assert (found["base"].rounds, found["base"].ci_high, found["other"].ratio_low) == (5, 1, 1)


def test_rounds_that_lack_either_value_are_omitted_from_the_ratio() -> None:
    found = summarised({1: 1.0, 2: None, 3: 1.0, 4: 1.0}, {1: 2.0, 2: 50.0, 3: 2.0, 5: 70.0})
    other = found["other"]
    assert (found["base"].rounds, other.rounds, other.pairs) == (3, 4, 2)
    assert (other.ratio_low, other.ratio_high) == pytest.approx((2, 2))


def test_no_ratio_without_a_baseline_or_with_a_zero_baseline() -> None:
    (alone,) = statistics.summarise(statistics.series(samples("other", ONES)), "base")
    assert (alone.ratio, alone.p_value, alone.smallest, alone.verdict) == (None, None, None, "not resolved")
    other = summarised(by_round([0.0] * 5), by_round([3.0] * 5), "retransmits")["other"]
    assert (other.ratio, other.verdict) == (None, "")


def test_zero_throughput_is_slower_if_constant_and_not_resolved_if_occasional() -> None:
    never = summarised(ONES, by_round([0.0] * 5))["other"]
    assert (never.ratio, never.verdict) == (pytest.approx(0), "slower")
    sometimes = summarised(ONES, by_round([0.5, 0.5, 0.5, 0.5, 0.0]))["other"]
    assert (sometimes.verdict, sometimes.smallest) == ("not resolved", None)


def test_two_probes_of_the_same_metric_are_kept_apart() -> None:
    both = samples("d", {1: 1.0}, probe="tcp") + samples("d", {1: 2.0}, probe="udp")
    assert {s.metric: s.values[1] for s in statistics.series(both)} == {
        "tcp/throughput": 1,
        "udp/throughput": 2,
    }


def test_cells_are_kept_apart_each_with_its_own_baseline() -> None:
    found = [
        *(samples("base", ONES, cell="mtu=1500") + samples("other", by_round([2.0] * 5), cell="mtu=1500")),
        *(samples("base", by_round([4.0] * 5), cell="mtu=9000") + samples("other", ONES, cell="mtu=9000")),
    ]
    ratios = {(s.cell, s.design): s.ratio for s in statistics.summarise(statistics.series(found), "base")}
    assert ratios["mtu=1500", "other"] == pytest.approx(2)
    assert ratios["mtu=9000", "other"] == pytest.approx(0.25)


def test_probe_limits_are_not_a_design() -> None:
    found = samples("base", ONES) + samples("limits", ONES, probe="other", path="loopback")
    assert [(s.design, s.metric) for s in statistics.series(found)] == [("base", "throughput")]
    raw = Histogram(1, "", "limits", "loopback", "p", "rtt", "us", np.array([1.0]), np.array([99_999]))
    assert statistics.summarise((), "base", [raw]) == ()
    assert statistics.pooled([raw]) == ()


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("throughput", [2.0] * 5, "faster"),
        ("throughput", [0.5] * 5, "slower"),
        ("rtt_p50", [2.0] * 5, "slower"),
        ("rtt_p99", [0.5] * 5, "faster"),
        ("throughput", [2.0] * 4, "not resolved"),
        ("throughput", [1.0] * 5, "not resolved"),
        ("throughput", [2.0, 2.1, 2.0, 2.0, 0.9], "not resolved"),
        ("throughput", [2.0, 2.1, 2.0, 2.0, 1.0], "not resolved"),
        ("throughput", [1.01, 1.02, 2.0, 1.01, 3.0], "not resolved"),
        ("messages", [2.0] * 5, ""),
        ("rtt_p99.9", [0.5] * 5, ""),
        ("unknown", [2.0] * 5, ""),
    ],
)
def test_verdicts(metric: str, values: list[float], expected: str) -> None:
    assert summarised(by_round([1.0] * len(values)), by_round(values), metric)["other"].verdict == expected


def test_a_verdict_must_exceed_the_a_a_difference() -> None:
    other = by_round([1.030, 1.031, 1.029, 1.030, 1.032])
    assert summarised(ONES, other)["other"].verdict == "faster"
    assert summarised(ONES, other, aa=by_round([1.02, 0.99, 1.02, 1.03, 0.97]))["other"].verdict == "faster"
    found = summarised(ONES, other, aa=by_round([0.96, 0.99, 0.96, 1.03, 0.97]))["other"]
    assert found.verdict == "not resolved"
    assert found.smallest is not None
    assert found.smallest > 1 / 0.97 - 1


def test_the_a_a_arm_gets_a_verdict() -> None:
    aa = summarised(ONES, ONES, aa=by_round([1.100, 1.101, 1.099, 1.1, 1.1]))["aa"]
    assert aa.verdict == "faster"


def comparing(number: int) -> dict[str, Summary]:
    """A design with a clear difference among `number` comparisons, each of another design."""
    values = by_round([1.02, 1.03, 1.05, 1.03, 1.04])
    found = samples("base", ONES) + samples("other", values)
    for i in range(number - 1):
        noise = np.random.default_rng(i).lognormal(0, 0.1, 5)
        found += samples(f"other{i}", by_round(noise.tolist()))
    whole = statistics.summarise(statistics.series(found), "base")
    assert statistics.comparisons(whole) == number
    return {s.design: s for s in whole}


def test_more_comparisons_require_larger_differences() -> None:
    alone, among = comparing(1)["other"], comparing(200)["other"]
    assert (alone.verdict, among.verdict) == ("faster", "not resolved")
    assert alone.p_value is not None
    assert among.p_value == pytest.approx(200 * alone.p_value, rel=0.02)
    assert alone.smallest is not None
    assert among.smallest is not None
    assert among.smallest > alone.smallest


def test_all_looks_together_spend_no_more_than_alpha() -> None:
    assert [alpha(look) for look in (1, 2, 3)] == pytest.approx([0.03, 0.01, 0.005])
    assert sum(alpha(look) for look in range(1, 60)) == pytest.approx(0.05)
    values = by_round([1.030, 1.025, 1.035, 1.030, 1.040])
    once, third = (summarised(ONES, values, look=look)["other"] for look in (1, 3))
    assert third.p_value == pytest.approx(6 * (once.p_value or 0))


def test_holm_matches_its_definition() -> None:
    assert holm(np.array([0.04, 0.01, np.nan, 0.03])).tolist() == pytest.approx(
        [0.06, 0.03, math.nan, 0.06], nan_ok=True
    )
    many = np.random.default_rng(1).random((50, 7))
    assert (holm(many) == np.array([holm(row) for row in many])).all()


@pytest.mark.parametrize(("n", "level"), [(5, 0.05), (5, 0.001), (12, 0.002), (200, 0.05)])
def test_the_smallest_effect_is_detected_with_90_percent_at_the_upper_limit_of_noise(n: int, level: float) -> None:
    effect = smallest_effect(np.ones(1), np.array([n]), np.array([n - 1.0]), np.zeros(1), np.array([level]))[0]
    worst = math.sqrt((n - 1) / stats.chi2.ppf(1 - paired.SD_CERTAINTY, n - 1))
    runs = np.random.default_rng(n).normal(effect, worst, (4_000, n))
    significant = stats.ttest_1samp(runs, 0, axis=1).pvalue < level
    assert (significant & (intervals(list(runs))[:, 1] > 0)).mean() == pytest.approx(0.9, abs=0.02)


def test_settled_means_resolved_or_small() -> None:
    quiet = by_round([1.0001, 0.9999, 1.0, 1.0002, 0.9998])
    noisy = by_round([1.1, 0.9, 1.05, 1.2, 0.8])
    large = by_round([2.0, 2.1, 2.0, 1.9, 2.0])

    def settled(*, other: Rounds, aa: Rounds | None = None) -> bool:
        return statistics.settled(summarised(ONES, other, aa=aa).values(), 0.01)

    assert settled(other=quiet)
    assert settled(other=large)
    assert not settled(other=noisy)
    assert settled(other=large, aa=quiet)
    assert not settled(other=quiet, aa=noisy)  # A/A does not count, but a design must exceed its difference.
    assert not settled(other={1: 1.0, 2: 1.0, 3: 1.0})


@given(several, st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_unit_does_not_affect_ratios_and_verdicts(pairs: list[tuple[float, float]], factor: float) -> None:
    base, other = ([pair[i] for pair in pairs] for i in (0, 1))
    plain = summarised(by_round(base), by_round(other))["other"]
    scaled = summarised(by_round([factor * v for v in base]), by_round([factor * v for v in other]))["other"]
    assert (scaled.ratio, scaled.ratio_low, scaled.ratio_high, scaled.p_value, scaled.smallest, scaled.verdict) == (
        *(plain.ratio, plain.ratio_low, plain.ratio_high, plain.p_value, plain.smallest, plain.verdict),
    )
    assert scaled.median == factor * plain.median


@given(several)
def test_swapping_design_and_baseline_mirrors_the_verdict(pairs: list[tuple[float, float]]) -> None:
    assume(all(abs(one / other - 1) > 1e-9 for one, other in pairs))
    base, other = ([pair[i] for pair in pairs] for i in (0, 1))
    forth, back = summarised(by_round(base), by_round(other)), summarised(by_round(other), by_round(base))
    mirror = {"faster": "slower", "slower": "faster", "not resolved": "not resolved"}
    assert back["other"].verdict == mirror[forth["other"].verdict]
    assert back["other"].ratio == pytest.approx(1 / (forth["other"].ratio or math.nan))
    assert summarised(by_round(base), by_round(other), "rtt_p50")["other"].verdict == mirror[forth["other"].verdict]


@given(st.lists(positive, min_size=1, max_size=60))
def test_an_interval_contains_its_median_and_does_not_depend_on_order(values: list[float]) -> None:
    ((median, low, high),) = intervals([np.array(values)])
    assert median == np.median(values)
    assert min(values) <= low <= median <= high <= max(values)
    assert intervals([np.array(values[::-1])]).tolist() == [[median, low, high]]


@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 10, 20, 101])
def test_intervals_match_scipy(n: int) -> None:
    rows = np.sort(np.random.default_rng(n).lognormal(size=(5, n)))  # scipy's resamples depend on the order
    forth, back = (
        stats.bootstrap(
            (ascending,),
            np.median,
            axis=-1,
            n_resamples=paired.RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(paired.SEED),
        ).bootstrap_distribution
        for ascending in (rows, -rows[:, ::-1])
    )
    tail = (1 - widened(n)) / 2
    expected = np.quantile(np.hstack([forth, -back]), [tail, 1 - tail], axis=1)
    assert intervals(list(rows))[:, 1:] == pytest.approx(expected.T)


def test_rows_of_any_length_give_the_same_result_as_alone() -> None:
    rows = [np.random.default_rng(n).normal(size=n) for n in (5, 1, 7, 5, 2, 40, 7)]
    assert intervals(rows).tolist() == [intervals([row])[0].tolist() for row in rows]
    assert intervals([np.full(6, 3.0)]).tolist() == [[3, 3, 3]]
    assert intervals([]).shape == (0, 3)


def test_with_few_values_the_interval_is_the_whole_range_with_known_coverage() -> None:
    for n in (2, 3, 4, 5):
        row = np.random.default_rng(n).normal(size=n)
        assert intervals([row])[0, 1:].tolist() == [row.min(), row.max()]
    assert [coverage(n) for n in range(8)] == [0, 0, 0.5, 0.75, 0.875, 0.9375, 0.95, 0.95]


def histogram(values: list[float], round_: int) -> Histogram:
    return Histogram(round_, "", "d", "path", "probe", "rtt", "us", *binned(np.array(values)))


@given(st.lists(st.lists(positive, min_size=1, max_size=50), min_size=1, max_size=5))
def test_pooling_histograms_equals_pooling_their_values(rounds: list[list[float]]) -> None:
    (pooled,) = statistics.pooled(histogram(values, i) for i, values in enumerate(rounds, 1))
    together = histogram([value for values in rounds for value in values], 1)
    assert pooled.total == together.total
    assert statistics.percentiles(pooled) == statistics.percentiles(together)


def test_the_warm_up_is_not_pooled() -> None:
    (pooled,) = statistics.pooled([histogram([999.0] * 9, 0), histogram([1.0], 1)])
    assert pooled.total == 1


def test_a_pooled_percentile_is_not_a_mean_of_percentiles() -> None:
    rounds = [histogram([10.0] * 99, 1), histogram([1000.0], 2)]
    (pooled,) = statistics.pooled(rounds)
    assert statistics.percentiles(pooled)[99] == 10
    found = samples("d", {1: 10.0, 2: 1000.0}, "rtt_p99")
    (p99,) = (s for s in statistics.summarise(statistics.series(found), "d", rounds) if s.metric == "rtt_p99")
    assert (p99.median, p99.rounds) == (10, 2)


def test_each_distribution_has_its_own_percentiles() -> None:
    parts = [replace(histogram([1.0, 2.0, 3.0], 1), metric=metric) for metric in ("connect", "unknown")]
    assert [statistics.percentiles(pooled) for pooled in statistics.pooled(parts)] == [{50: 2, 90: 3, 99: 3}, {}]


@given(st.lists(st.lists(positive, min_size=1, max_size=30), min_size=1, max_size=5), st.sampled_from([50, 90, 99]))
def test_the_interval_of_a_pooled_percentile_resamples_whole_rounds(rounds: list[list[float]], q: float) -> None:
    parts = [histogram(values, i) for i, values in enumerate(rounds, 1)]
    n = len(parts)
    found = pooled_interval(parts, q)
    assert found.median == statistics.pooled(parts)[0].percentile(q)
    resamples = {
        rounds: statistics.pooled(parts[i] for i in rounds)[0].percentile(q)
        for rounds in combinations_with_replacement(range(n), n)
    }
    ways = np.array([factorial(n) / prod(map(factorial, Counter(rounds).values())) for rounds in resamples]) / n**n
    values = np.array(list(resamples.values()))
    outside = (1 - widened(n)) / 2 if n > 1 else 0
    for end, beyond in ((found.low, values < found.low), (found.high, values > found.high)):
        assert min(values) <= end <= max(values)
        assert ways[beyond].sum() <= outside + 0.005


@pytest.mark.parametrize(("count", "given"), [(9_999, False), (10_000, True)])
def test_p999_requires_ten_thousand_values(count: int, given: bool) -> None:
    rounds = [histogram([5.0] * (count - 2_000), 1), histogram([5.0] * 2_000, 2)]
    (pooled,) = statistics.pooled(rounds)
    assert (99.9 in statistics.percentiles(pooled)) == given
    found = {s.metric: s for s in statistics.summarise((), "d", rounds)}
    assert ("rtt_p99.9" in found) == given
    if given:  # No single round has enough values, so rounds cannot be paired.
        assert (found["rtt_p99.9"].median, found["rtt_p99.9"].rounds, found["rtt_p99.9"].ratio) == (5, 2, None)


def test_a_percentile_without_raw_values_is_absent_if_the_run_has_others() -> None:
    found = statistics.series(samples("d", {1: 10.0}, "rtt_p99"))
    shown = statistics.summarise(found, "d", [replace(histogram([5.0], 1), design="other")])
    assert "d" not in {s.design for s in shown}


def test_without_any_raw_values_a_percentile_is_the_median_of_those_of_the_rounds() -> None:
    found = statistics.series(samples("d", {1: 10.0, 2: 30.0, 3: 20.0}, "rtt_p99"))
    (p99,) = statistics.summarise(found, "d")
    assert (p99.median, p99.ci_low, p99.ci_high, p99.rounds) == (20.0, 10.0, 30.0, 3)


def test_summary_csv_has_the_documented_columns_and_empty_cells() -> None:
    summaries = summarised(by_round([0.0] * 5), by_round([1 / 3] * 5), "retransmits").values()
    rows = list(csv.DictReader(io.StringIO(statistics.to_csv(summaries))))
    assert ",".join(rows[0]) == (
        "cell,design,path,metric,unit,rounds,median,ci_low,ci_high,"
        "ratio,ratio_low,ratio_high,family,p_value,smallest,verdict"
    )
    assert rows[1]["median"] == "0.333333"
    assert [rows[1][name] for name in ("ratio", "p_value", "smallest", "verdict")] == [""] * 4
    assert rows[0]["verdict"] == "baseline"


def test_series_are_sorted_for_any_order_of_samples() -> None:
    mixed = samples("b", {2: 1.0, 1: 2.0}) + samples("a", {1: 3.0})
    assert statistics.series(mixed) == statistics.series(mixed[::-1])
    assert statistics.series(mixed)[0] == Series("", "a", "path", "probe", "throughput", "unit", {1: 3.0})
