import csv
import io
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import quantile_test

from testbed.experiment.results import Histogram, Sample, binned
from testbed.report import statistics
from testbed.report.statistics import Interval, Series, Summary, coverage, interval

Rounds = Mapping[int, float | None]

positive = st.floats(min_value=0.1, max_value=1000)
several = st.lists(st.tuples(positive, positive), min_size=5, max_size=12)


def samples(design: str, values: Rounds, metric: str = "throughput", probe: str = "probe") -> list[Sample]:
    return [
        Sample(round_, 1, design, "path", probe, metric, "unit", value, "", "" if value else "no answer")
        for round_, value in values.items()
    ]


def summarised(base: Rounds, other: Rounds, metric: str = "throughput") -> tuple[Summary, Summary]:
    both = samples("base", base, metric) + samples("other", other, metric)
    one, two = statistics.summarise(statistics.series(both), "base")
    return one, two


def by_round(values: list[float]) -> dict[int, float | None]:
    return dict(enumerate(values, 1))


def test_medians_ratios_and_intervals_of_known_numbers() -> None:
    base, other = summarised(by_round([10, 20, 10, 20, 10]), by_round([5, 12, 8, 18, 7]))
    assert (base.rounds, base.median, base.ci_low, base.ci_high) == (5, 10, 10, 20)
    assert base.verdict == "baseline"
    assert (other.median, other.ci_low, other.ci_high) == (8, 5, 18)
    assert (other.ratio, other.ratio_low, other.ratio_high) == pytest.approx((0.7, 0.5, 0.9))
    assert other.verdict == "slower"


def test_the_ratio_is_of_the_same_round_and_not_of_medians() -> None:
    _, other = summarised(by_round([1, 2, 3, 4, 100]), by_round([2, 4, 6, 8, 200]))
    assert (other.ratio, other.ratio_low, other.ratio_high) == (2, 2, 2)


def test_the_warm_up_never_counts() -> None:
    warm: Rounds = {0: 1000.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}
    base, other = summarised(warm, {**warm, 0: 0.001})
    assert (base.rounds, base.ci_high, other.ratio_low) == (5, 1, 1)


def test_a_round_that_lacks_either_value_is_left_out_of_the_ratio() -> None:
    base, other = summarised({1: 1.0, 2: None, 3: 1.0, 4: 1.0}, {1: 2.0, 2: 50.0, 3: 2.0, 5: 70.0})
    assert (base.rounds, other.rounds, other.pairs) == (3, 4, 2)
    assert (other.ratio_low, other.ratio_high) == (2, 2)


def test_no_ratio_without_a_baseline_or_where_the_baseline_is_zero() -> None:
    (alone,) = statistics.summarise(statistics.series(samples("other", by_round([1.0] * 5))), "base")
    assert (alone.ratio, alone.verdict) == (None, "not resolved")
    _, other = summarised(by_round([0.0] * 5), by_round([3.0] * 5), "retransmits")
    assert (other.ratio, other.verdict) == (None, "")


def test_two_probes_of_the_same_metric_are_kept_apart() -> None:
    both = samples("d", {1: 1.0}, probe="tcp") + samples("d", {1: 2.0}, probe="udp")
    assert {s.metric: s.values[1] for s in statistics.series(both)} == {
        "tcp/throughput": 1,
        "udp/throughput": 2,
    }


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("throughput", [2.0] * 5, "faster"),
        ("throughput", [0.5] * 5, "slower"),
        ("rtt_p50", [2.0] * 5, "slower"),
        ("rtt_p99.9", [0.5] * 5, "faster"),
        ("throughput", [2.0] * 4, "not resolved"),
        ("throughput", [2.0, 2.0, 2.0, 2.0, 0.9], "not resolved"),
        ("throughput", [2.0, 2.0, 2.0, 2.0, 1.0], "not resolved"),
        ("messages", [2.0] * 5, ""),
        ("never-heard-of", [2.0] * 5, ""),
    ],
)
def test_verdicts(metric: str, values: list[float], expected: str) -> None:
    _, other = summarised(by_round([1.0] * len(values)), by_round(values), metric)
    assert other.verdict == expected


@given(several, st.sampled_from([0.25, 2.0, 1024.0]))
def test_another_unit_changes_no_ratio_and_no_verdict(pairs: list[tuple[float, float]], factor: float) -> None:
    base, other = ([pair[i] for pair in pairs] for i in (0, 1))
    _, plain = summarised(by_round(base), by_round(other))
    _, scaled = summarised(by_round([factor * v for v in base]), by_round([factor * v for v in other]))
    assert (scaled.ratio, scaled.ratio_low, scaled.ratio_high) == (
        plain.ratio,
        plain.ratio_low,
        plain.ratio_high,
    )
    assert scaled.verdict == plain.verdict
    assert scaled.median == factor * plain.median


@given(several)
def test_what_is_faster_one_way_is_slower_the_other_way(pairs: list[tuple[float, float]]) -> None:
    assume(all(abs(one / other - 1) > 1e-9 for one, other in pairs))
    base, other = ([pair[i] for pair in pairs] for i in (0, 1))
    _, forth = summarised(by_round(base), by_round(other))
    _, back = summarised(by_round(other), by_round(base))
    mirror = {"faster": "slower", "slower": "faster", "not resolved": "not resolved"}
    assert back.verdict == mirror[forth.verdict]
    _, lower = summarised(by_round(base), by_round(other), "rtt_p50")
    assert lower.verdict == mirror[forth.verdict]


@given(st.lists(positive, min_size=1, max_size=60))
def test_an_interval_holds_its_median_and_does_not_heed_order(values: list[float]) -> None:
    found = interval(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found == interval(reversed(values))


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 15, 30, 101])
def test_the_interval_is_that_of_scipy_from_six_values_on(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    low, high = quantile_test(values, p=0.5).confidence_interval(0.95)
    assert interval(values) == Interval(float(np.median(values)), low, high)


def test_with_fewer_values_the_interval_is_the_whole_range_and_says_how_sure_it_is() -> None:
    assert interval([3.0, 1.0, 2.0, 5.0, 4.0]) == Interval(3, 1, 5)
    assert [coverage(n) for n in range(7)] == [0, 0, 0.5, 0.75, 0.875, 0.9375, 0.96875]
    assert all(0.95 <= coverage(n) < 1 for n in range(6, 1001))


@pytest.mark.parametrize("n", [3, 5, 6, 12, 20])
def test_intervals_cover_the_true_median_as_often_as_claimed(n: int) -> None:
    random = np.random.default_rng(20_261_121)
    runs = random.lognormal(0, 1, (4_000, n))  # the true median is 1
    covered = np.mean([found.low <= 1 <= found.high for found in map(interval, runs)])
    assert covered == pytest.approx(coverage(n), abs=4 * math.sqrt(0.25 / 4_000))


def test_false_verdicts_come_as_often_as_the_report_says() -> None:
    random = np.random.default_rng(5)
    runs = 2_000
    found = [summarised(*(by_round(list(random.lognormal(0, 0.1, 5))) for _ in range(2)))[1] for _ in range(runs)]
    count, expected = statistics.false_verdicts(found)
    resolved = sum(s.verdict in ("faster", "slower") for s in found)
    assert (count, expected) == (runs, runs / 16)
    assert resolved == pytest.approx(expected, abs=4 * math.sqrt(expected))


def histogram(values: list[float], round_: int) -> Histogram:
    return Histogram(round_, "d", "path", "probe", "rtt", "us", *binned(np.array(values)))


@given(st.lists(st.lists(positive, min_size=1, max_size=50), min_size=1, max_size=5))
def test_pooling_histograms_is_pooling_their_values(rounds: list[list[float]]) -> None:
    (pooled,) = statistics.pooled(histogram(values, i) for i, values in enumerate(rounds, 1))
    together = histogram([value for values in rounds for value in values], 1)
    assert pooled.total == together.total
    assert statistics.percentiles(pooled) == statistics.percentiles(together)


def test_the_warm_up_is_not_pooled() -> None:
    (pooled,) = statistics.pooled([histogram([999.0] * 9, 0), histogram([1.0], 1)])
    assert pooled.total == 1


def test_a_pooled_percentile_is_no_mean_of_percentiles() -> None:
    (pooled,) = statistics.pooled([histogram([10.0] * 99, 1), histogram([1000.0], 2)])
    assert statistics.percentiles(pooled)[99] == 10


@pytest.mark.parametrize(("count", "given"), [(9_999, False), (10_000, True)])
def test_p999_needs_ten_thousand_values(count: int, given: bool) -> None:
    (pooled,) = statistics.pooled([histogram([5.0] * count, 1)])
    assert (99.9 in statistics.percentiles(pooled)) == given


def test_summary_csv_has_the_documented_columns_and_empty_cells() -> None:
    summaries = summarised(by_round([0.0] * 5), by_round([1 / 3] * 5), "retransmits")
    rows = list(csv.DictReader(io.StringIO(statistics.to_csv(summaries))))
    assert ",".join(rows[0]) == (
        "design,path,metric,unit,rounds,median,ci_low,ci_high,ratio,ratio_low,ratio_high,verdict"
    )
    assert rows[1]["median"] == "0.333333"
    assert (rows[1]["ratio"], rows[1]["verdict"], rows[0]["verdict"]) == ("", "", "baseline")


def test_a_series_is_sorted_whatever_the_order_of_the_samples() -> None:
    mixed = samples("b", {2: 1.0, 1: 2.0}) + samples("a", {1: 3.0})
    assert statistics.series(mixed) == statistics.series(mixed[::-1])
    assert statistics.series(mixed)[0] == Series("a", "path", "probe", "throughput", "unit", {1: 3.0})
