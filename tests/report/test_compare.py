"""Comparison of two runs with known differences, from samples in memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from testbed.experiment.results import LOOPBACK, Histogram, Results, Sample, Values, binned, merged
from testbed.report import summaries_of
from testbed.report.breaches import judge, words_of
from testbed.report.compare import Compared, Comparison, Draft, NotComparable, compare, judged
from testbed.report.compare_tables import markdown, sections, terminal
from testbed.report.condition import ConditionError
from testbed.report.paired import holm
from testbed.report.run import read_run
from testbed.report.statistics import series
from testbed.report.unpaired import Evidence, draws, interval, plain, pooled, welch
from testbed.spec.scenario import AA, LIMITS

STARTED = "2026-11-21T06:00:00+00:00"
BASELINE = "l3-host-routes"
DESIGNS = ("l2", BASELINE, "vxlan")
FACTORS = {"l2": 1.05, BASELINE: 1.0, "vxlan": 0.8, AA: 1.0}

Value = Callable[[str, str, int], float | None]
"""A value by design, path and round."""


def steady(seed: int, times: float = 1.0, noise: float = 0.01, changed: str = "", by: float = 1.0) -> Value:
    """Gbit/s around 20 times a design's factor; one of the designs may be changed."""

    def value(design: str, path: str, number: int) -> float:
        random = np.random.default_rng([seed, sum(map(ord, design + path)), number])
        return 20 * times * FACTORS[design] * (by if design == changed else 1) * float(np.exp(noise * random.normal()))

    return value


def run_of(
    value: Value,
    name: str = "run",
    rounds: int = 7,
    designs: tuple[str, ...] = DESIGNS,
    arms: tuple[str, ...] = (*DESIGNS, AA),
    paths: tuple[str, ...] = ("same-node", "cross-node"),
    metric: tuple[str, str, str] = ("throughput", "throughput", "Gbit/s"),
    cells: tuple[str, ...] = ("",),
    rtt: Callable[[str, str, int], Values] | None = None,
    **manifest: Any,
) -> Results:
    """A run as `read_results` returns it."""
    samples, histograms = [], []
    for cell in cells:
        for number in range(rounds + 1):
            for position, design in enumerate(arms, 1):
                for path in paths:
                    where = (number, position, cell, design, path)
                    one = value(design, path, number)
                    samples.append(Sample(*where, *metric, one, STARTED, "" if one is not None else "no route to host"))
                    if rtt is not None:
                        values = rtt(design, path, number)
                        histogram = Histogram(number, cell, design, path, "latency", "rtt", "us", *binned(values))
                        histograms.append(histogram)
                        samples += [
                            Sample(*where, "latency", f"rtt_p{q}", "us", histogram.percentile(q), STARTED)
                            for q in (50, 90, 99)
                        ]
    samples.append(Sample(0, 1, "", LIMITS, LOOPBACK, "throughput", "throughput", "Gbit/s", 40.0, STARTED))
    scenario = {
        "name": "synthetic",
        "designs": list(designs),
        "baseline": BASELINE,
        "paths": {path: {"from": "client", "to": "web-2"} for path in paths},
        "probes": {},
        "rounds": rounds,
    }
    keys = {
        "format": 2,
        "testbed": "0.1.0",
        "scenario": scenario,
        "scenario_text": "name: synthetic\n",
        "topology_text": "name: two-nodes\n",
        "started": STARTED,
        "state": "done",
        "cells": [{"name": cell, "factors": {}} for cell in cells if cell],
        "machine": {"kernel": "6.1.0", "cpu": "a processor", "cpus": 2},
        "tools": {"iperf3": "3.12"},
        "designs": {design: {"state": "measured"} for design in designs},
    }
    return Results(Path(name), keys | manifest, tuple(samples), tuple(histograms))


def verdicts(compared: Compared, path: str = "cross-node") -> dict[str, str]:
    return {c.design: c.verdict for c in compared.comparisons if c.path == path and c.metric == "throughput"}


def text_of(compared: Compared, *conditions: str) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(terminal(compared, [judge(condition, compared.comparisons) for condition in conditions]))
    return capture.get()


# Verdicts


def test_only_the_design_that_lost_20_percent_is_slower() -> None:
    compared = compare(run_of(steady(1)), run_of(steady(2, changed="vxlan", by=0.8)))
    assert verdicts(compared) == {"l2": "not resolved", BASELINE: "not resolved", "vxlan": "slower"}
    (vxlan,) = [c for c in compared.comparisons if (c.design, c.path) == ("vxlan", "cross-node")]
    assert vxlan.ratio == pytest.approx(vxlan.new / vxlan.old) == pytest.approx(0.8, rel=0.02)
    assert vxlan.ratio_low is not None and vxlan.ratio_high is not None
    assert vxlan.ratio_low < 0.8 < vxlan.ratio_high < 0.85


def test_a_lower_latency_is_faster() -> None:
    def made(seed: int, times: float) -> Results:
        return run_of(steady(seed, times), metric=("latency", "rtt_p50", "us"))

    found = {c.verdict for c in compare(made(1, 1), made(2, 0.8)).comparisons}
    assert found == {"faster"}


def test_a_run_against_itself_has_no_verdict() -> None:
    one = run_of(steady(1))
    found = compare(one, one).comparisons
    assert {(c.ratio, c.verdict, c.p_value) for c in found} == {(1.0, "not resolved", 1.0)}


def test_four_rounds_of_either_run_give_no_verdict() -> None:
    slow = steady(2, 0.5)
    assert set(verdicts(compare(run_of(steady(1), rounds=4), run_of(slow))).values()) == {"not resolved"}
    assert set(verdicts(compare(run_of(steady(1), rounds=5), run_of(slow, rounds=5))).values()) == {"slower"}


def test_differences_within_either_a_a_difference_get_no_verdict() -> None:
    def restless(design: str, path: str, number: int) -> float | None:
        value = steady(2, 1.1)(design, path, number)
        return value * 1.2 if design == AA and value else value

    assert set(verdicts(compare(run_of(steady(1)), run_of(steady(2, 1.1)))).values()) == {"faster"}
    for old, new in ((steady(1), restless), (restless, steady(1))):
        compared = compare(run_of(old), run_of(new))
        assert set(verdicts(compared).values()) == {"not resolved"}
        assert all(c.floor == pytest.approx(0.2, abs=0.02) for c in compared.comparisons)
        assert all(c.smallest is not None and c.smallest > c.floor for c in compared.comparisons)


def test_a_metric_without_a_direction_is_compared_without_verdict() -> None:
    made = [
        run_of(steady(seed, times), metric=("throughput", "retransmits", "segments"))
        for seed, times in ((1, 1), (2, 3))
    ]
    compared = compare(*made)
    assert {(c.verdict, c.p_value, c.smallest) for c in compared.comparisons} == {("", None, None)}
    assert all(c.ratio == pytest.approx(3, rel=0.05) for c in compared.comparisons)


def test_values_of_zero_are_handled() -> None:
    nothing = run_of(lambda design, path, number: 0.0)
    for old, new in ((nothing, run_of(steady(1))), (run_of(steady(1)), nothing)):
        assert {c.verdict for c in compare(old, new).comparisons} == {"not resolved"}
    assert {c.ratio for c in compare(nothing, run_of(steady(1))).comparisons} == {None}


def test_warm_up_and_limits_do_not_count() -> None:
    def odd_warm_up(design: str, path: str, number: int) -> float | None:
        return 1000.0 if number == 0 else steady(1)(design, path, number)

    assert (
        compare(run_of(odd_warm_up), run_of(steady(2))).comparisons
        == compare(run_of(steady(1)), run_of(steady(2))).comparisons
    )


# Another machine


def test_a_faster_machine_shows_directly_but_not_with_relative() -> None:
    old, new = run_of(steady(1)), run_of(steady(2, times=1.5, changed="vxlan", by=0.8))
    assert verdicts(compare(old, new)) == {"l2": "faster", BASELINE: "faster", "vxlan": "faster"}
    relative = compare(old, new, relative=True)
    assert verdicts(relative) == {"l2": "not resolved", "vxlan": "slower"}
    (vxlan,) = [c for c in relative.comparisons if (c.design, c.path) == ("vxlan", "cross-node")]
    assert vxlan.old == pytest.approx(0.8, rel=0.02)
    assert vxlan.ratio == pytest.approx(0.8, rel=0.02)


def test_relative_pairs_rounds_within_a_run() -> None:
    """A drift common to all designs hides a difference directly, and cancels out with relative."""

    def drifting(seed: int, by: float) -> Value:
        own = steady(seed, noise=0.002, changed="vxlan", by=by)
        return lambda design, path, number: (own(design, path, number) or 0) * 1.3 ** (number * 5 % 7)

    old, new = run_of(drifting(1, 1)), run_of(drifting(2, 0.9))
    assert set(verdicts(compare(old, new)).values()) == {"not resolved"}
    assert verdicts(compare(old, new, relative=True)) == {"l2": "not resolved", "vxlan": "slower"}


def test_relative_ratios_equal_those_of_the_runs_reports() -> None:
    old, new = (run_of(steady(seed), rtt=rtts(seed)) for seed in (1, 2))
    reported = summaries_of(read_run(old), series(old.samples), old)
    own = {(s.design, s.path, s.metric): s.ratio for s in reported}
    for c in compare(old, new, relative=True).comparisons:
        assert c.old == pytest.approx(own[(c.design, c.path, c.metric)])


def test_relative_requires_the_same_baseline() -> None:
    other = run_of(steady(2))
    other.manifest["scenario"]["baseline"] = "l2"
    with pytest.raises(NotComparable, match=f"{BASELINE} in run, l2 in run; omit --relative"):
        compare(run_of(steady(1)), other, relative=True)


def test_differences_between_the_runs_are_listed() -> None:
    new = run_of(
        steady(2),
        testbed="0.2.0",
        machine={"kernel": "6.8.0", "cpu": "another", "cpus": 2, "governor": "none"},
        tools={"iperf3": "3.16"},
        scenario_text="name: synthetic\nrounds: 9\n",
        topology_text="# a comment\nname: two-nodes\n",
    )
    new.manifest["scenario"]["rounds"] = 9
    compared = compare(run_of(steady(1)), new)
    assert [str(difference) for difference in compared.differences] == [
        "testbed: 0.1.0 → 0.2.0",
        "kernel: 6.1.0 → 6.8.0",
        "cpu: a processor → another",
        "iperf3: 3.12 → 3.16",
        "scenario: rounds: 7 → 9",
        "the topology's text",
    ]
    text = " ".join(text_of(compared).split())
    assert "The machines differ (cpu), which affects every ratio; use --relative to compare" in text
    assert "kernel: 6.1.0 → 6.8.0" in text


def test_differing_devices_are_listed() -> None:
    def made(name: str, mtu: int) -> Results:
        device = {"first": "node1 eth0", "alike": 2, "kind": "veth", "mtu": mtu, "qdisc": "noqueue", "offloads": "tso"}
        return run_of(steady(1), name, devices=[device])

    found = [str(difference) for difference in compare(made("old", 1500), made("new", 9000)).differences]
    assert found == ["node1 eth0 mtu: 1500 → 9000"]


def test_plans_are_compared_without_comments(tmp_path: Path) -> None:
    def made(name: str, **plans: str) -> Results:
        (tmp_path / name / "plans").mkdir(parents=True)
        for design, commands in plans.items():
            (tmp_path / name / "plans" / f"{design}.txt").write_text(commands)
        return replace(run_of(steady(1)), folder=tmp_path / name)

    old = made("old", vxlan="# as of old\nip link add a\n", l2="# as of old\nip link add b\n")
    new = made("new", vxlan="# as of new\nip link add a\n", l2="# as of new\nip link add c\n")
    assert [str(difference) for difference in compare(old, new).differences] == ["the plan of l2 (plans/l2.txt)"]


# Parts that only one run has


def test_parts_that_only_one_run_has_are_named() -> None:
    old = run_of(steady(1), paths=("same-node", "cross-node"))
    new = run_of(steady(2), designs=("l2", BASELINE), arms=("l2", BASELINE, AA), paths=("cross-node", "far"))
    compared = compare(old, new)
    assert compared.only_old == ("the design vxlan", "the path same-node")
    assert compared.only_new == ("the path far",)
    assert "only NEW has the path far" in text_of(compared)


def test_a_single_missing_measurement_is_named() -> None:
    def failing(design: str, path: str, number: int) -> float | None:
        return None if (design, path) == ("vxlan", "cross-node") else steady(2)(design, path, number)

    assert compare(run_of(steady(1)), run_of(failing)).only_old == ("vxlan cross-node: throughput",)


def test_a_different_unit_is_a_different_measurement() -> None:
    old = run_of(steady(1), metric=("throughput", "throughput", "Mbit/s"), paths=("cross-node",))
    new = run_of(steady(1), rtt=rtts(1), paths=("cross-node",))
    both = replace(old, samples=old.samples + tuple(s for s in new.samples if s.probe == "latency"))
    assert compare(both, new).only_old[0] == "l2 cross-node: throughput in Mbit/s"


def test_runs_with_nothing_in_common_cannot_be_compared() -> None:
    with pytest.raises(NotComparable) as error:
        compare(run_of(steady(1), "before", paths=("here",)), run_of(steady(1), "after", paths=("there",)))
    assert str(error.value) == (
        "before and after have no measurement in common\n"
        "  only before has the path here\n"
        "  only after has the path there"
    )


def test_a_run_without_values_cannot_be_compared() -> None:
    with pytest.raises(NotComparable) as error:
        compare(run_of(steady(1), "whole"), run_of(lambda design, path, number: None, "empty"))
    assert "whole and empty have no measurement in common\n  only whole has the designs" in str(error.value)


def test_a_metric_matches_even_if_only_one_run_has_a_second_probe_for_it() -> None:
    def probed(name: str) -> Results:
        return run_of(steady(1), metric=(name, "rtt_p50", "us"))

    alone, rival = probed("latency"), probed("web")
    both = replace(alone, samples=alone.samples + rival.samples)
    compared = compare(alone, both)
    assert {c.metric for c in compared.comparisons} == {"latency/rtt_p50"}
    assert compared.only_new == ("the metric web/rtt_p50",)
    assert {c.metric for c in compare(alone, rival).comparisons} == {"rtt_p50"}


def test_cells_of_a_sweep_are_compared_by_name() -> None:
    old = run_of(steady(1), cells=("mtu=1500", "mtu=9000"))
    new = run_of(steady(2, 0.5), cells=("mtu=9000", "mtu=1400"))
    compared = compare(old, new)
    assert {c.cell for c in compared.comparisons} == {"mtu=9000"}
    assert (compared.only_old, compared.only_new) == (("the cell mtu=1500",), ("the cell mtu=1400",))
    assert judge("mtu=9000 cross-node throughput < 0.9", compared.comparisons).compared == 3


# Conditions


def test_a_breach_requires_a_verdict_and_the_whole_interval_beyond_the_threshold() -> None:
    compared = compare(run_of(steady(1)), run_of(steady(2, changed="vxlan", by=0.8)))
    assert judge("cross-node throughput < 0.9", compared.comparisons).state == "breached"
    assert judge("cross-node throughput < 0.79", compared.comparisons).state == "kept"
    assert judge("l2 throughput < 0.9", compared.comparisons).state == "kept"
    (vxlan,) = [c for c in compared.comparisons if (c.design, c.path) == ("vxlan", "cross-node")]
    assert vxlan.ratio is not None and vxlan.ratio_high is not None
    inside = f"vxlan cross-node throughput < {(vxlan.ratio + vxlan.ratio_high) / 2:.6f}"
    assert judge(inside, compared.comparisons).state == "not resolved"
    # The whole interval is beyond the threshold, but the difference is too small for a verdict: no breach.
    assert judge("l2 cross-node throughput < 1.5", compared.comparisons).state == "not resolved"


def test_a_condition_without_match_lists_what_was_compared() -> None:
    def failing(design: str, path: str, number: int) -> float | None:
        return None if (design, path) == ("vxlan", "cross-node") else steady(2)(design, path, number)

    compared = compare(run_of(steady(1)), run_of(failing))
    with pytest.raises(ConditionError, match="no comparison matches all of these names; compared:") as error:
        judge("vxlan cross-node throughput < 0.9", compared.comparisons)
    assert "vxlan same-node: throughput" in str(error.value)


def test_metrics_without_direction_are_not_valid_in_conditions() -> None:
    old, new = (run_of(steady(seed), rtt=rtts(seed)) for seed in (1, 2))
    words = words_of(compare(old, new).comparisons)
    assert words.metrics == ("throughput", "rtt_p50", "rtt_p99")
    assert "rtt_p90" in words.without_verdict


# Tables


def test_the_table_has_every_comparison_in_80_columns() -> None:
    compared = compare(run_of(steady(1)), run_of(steady(2, changed="vxlan", by=0.8)))
    text = text_of(compared, "cross-node throughput < 0.9")
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text[text.index("cross-node: ") :].splitlines() if line.startswith("vxlan"))
    assert row.split()[0] == "vxlan" and row.split()[-1] == "slower"
    assert "cross-node throughput < 0.9: breached in 1 of 3 comparisons" in text
    assert "at most 5%" in " ".join(text.split())


def test_markdown_has_the_same_rows_and_escapes_names() -> None:
    old, new = run_of(steady(1), "be|fore"), run_of(steady(2, changed="vxlan", by=0.8), "<after>")
    compared = compare(old, new)
    text = markdown(compared, [judge("throughput < 0.9", compared.comparisons)])
    assert text.startswith("### be\\|fore → \\<after\\>\n")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) == sum(len(section.rows) for section in sections(compared))
    assert sum("**slower**" in row for row in rows) == 2
    assert "- **throughput \\< 0.9: breached in 2 of 6 comparisons**" in text


# Statistics, compared with independent sources


@given(st.integers(0, 2**32), st.integers(5, 20), st.integers(5, 20), st.floats(-1, 1))
def test_welch_matches_scipy(seed: int, n: int, m: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    old, new = np.exp(random.normal(0, 0.3, n)), np.exp(random.normal(shift, 0.1, m))
    ours, theirs = welch(old, new), stats.ttest_ind(np.log(new), np.log(old), equal_var=False)
    assert ours is not None
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.freedom == pytest.approx(theirs.df)


def test_constant_rounds_are_tested_for_equality() -> None:
    same, other = np.full(5, 64.0), np.full(5, 65.0)
    assert [test.p_value for test in (welch(same, same), welch(same, other)) if test] == [1.0, 0.0]


def rtts(seed: int) -> Callable[[str, str, int], Values]:
    """A round's RTTs with a heavy tail, in microseconds."""

    def values(design: str, path: str, number: int) -> Values:
        random = np.random.default_rng([seed, sum(map(ord, design + path)), number])
        shape = random.lognormal(0, 0.15, 1000 + 100 * number) * np.exp(0.02 * random.normal())
        return np.asarray(20 / FACTORS[design] * np.where(random.random(shape.size) < 0.01, 3 * shape, shape))

    return values


def pooled_by_hand(run: Results, design: str, q: float, path: str = "cross-node") -> float:
    parts = [h for h in run.histograms if (h.design, h.path) == (design, path) and h.round > 0]
    return float(np.percentile(np.repeat(*merged(parts)), q, method="inverted_cdf"))


@pytest.mark.parametrize("q", [50, 99])
def test_percentiles_are_pooled_over_rounds(q: int) -> None:
    old, new = (run_of(steady(seed), rtt=rtts(seed)) for seed in (1, 2))
    for c in compare(old, new).comparisons:
        if (c.path, c.metric) == ("cross-node", f"rtt_p{q}"):
            assert (c.old, c.new) == (pooled_by_hand(old, c.design, q), pooled_by_hand(new, c.design, q))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from([50.0, 90.0, 99.0, 99.9]))
def test_resampled_percentiles_match_merged_histograms(seed: int, rounds: int, q: float) -> None:
    random = np.random.default_rng(seed)
    parts = [
        Histogram(r, "", "l2", "p", "latency", "rtt", "us", *binned(random.lognormal(3, 1, random.integers(1, 300))))
        for r in range(rounds)
    ]
    drawn = draws(0, rounds)[:20]
    point, found = pooled(parts, q, drawn)

    def by_hand(some: list[Histogram]) -> float:
        """The smallest value that at least q percent do not exceed; in integers, because 99.9% of 1,000 are 999."""
        values = np.sort(np.repeat(*merged(some)))
        return float(values[-(-round(10 * q) * len(values) // 1000) - 1])

    assert found.tolist() == [by_hand([parts[i] for i in draw]) for draw in drawn]
    assert point == by_hand(parts)


def test_the_interval_matches_scipys_percentile_bootstrap() -> None:
    random = np.random.default_rng(1)
    old, new = np.exp(random.normal(0, 0.1, 15)), np.exp(random.normal(0.2, 0.1, 12))
    (ours,) = judged([draft(old, new)])
    theirs = stats.bootstrap(
        (new, old),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        paired=False,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (ours.ratio_low, ours.ratio_high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


# Simulation of error rates and power


@pytest.mark.parametrize("rounds", [5, 7, 10, 20])
@pytest.mark.parametrize("heavy", [False, True])
def test_intervals_contain_the_true_ratio_in_95_percent_of_cases(rounds: int, heavy: bool) -> None:
    random = np.random.default_rng([rounds, heavy])
    noise = random.standard_t(4, (2, 600, rounds)) if heavy else random.normal(size=(2, 600, rounds))
    old, new = np.exp(0.05 * noise)
    spans = [interval(evidence(0, a), evidence(1, b)) for a, b in zip(old, new, strict=True)]
    held = np.mean([span is not None and span[0] <= 1 <= span[1] for span in spans])
    print(f"{rounds} rounds{', heavy tails' * heavy}: {held:.1%} of intervals contain the true ratio")
    assert held >= 0.935


DIRECTIONS = (("throughput", "Gbit/s"), ("rtt_p50", "us"))
KINDS = 8
"""Designs times paths; with two metrics, 16 comparisons per pair of runs, as for four designs and two paths."""


def evidence(side: int, values: Values) -> Evidence:
    return plain(values, draws(side, len(values)))


def draft(old: Values, new: Values, name: str = "l2", metric: str = "throughput", floor: float = 0.0) -> Draft:
    return Draft(("", name, "cross-node", metric, ""), "probe", evidence(0, old), evidence(1, new), floor)


def runs(random: np.random.Generator, pairs: int, rounds: int, noise: float = 0.05) -> Values:
    """Values by pair of runs, comparison and round: with noise common to a round, and with outliers."""
    shared = noise * random.normal(size=(pairs, 1, rounds))
    own = noise * random.standard_t(4, size=(pairs, KINDS * len(DIRECTIONS), rounds))
    return np.asarray(np.exp(shared + own))


def comparisons_of(old: Values, new: Values) -> list[Comparison]:
    """The verdicts on one pair of runs. The A/A difference is 0, so that it does not prevent any verdict."""
    return judged(
        [draft(a, b, f"design-{i}", DIRECTIONS[i % 2][0]) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    )


def suspicious(old: Values, new: Values) -> Iterator[int]:
    """The pairs of runs in which a verdict is possible: the adjusted test, one of three conditions, is significant."""
    for pair in range(len(old)):
        tests = [welch(a, b) for a, b in zip(old[pair], new[pair], strict=True)]
        if holm(np.array([test.p_value for test in tests if test])).min() < 0.05:
            yield pair


def share_with_verdict(old: Values, new: Values) -> float:
    """The share of pairs of runs with at least one verdict."""
    wrong = [
        pair
        for pair in suspicious(old, new)
        if any(c.verdict != "not resolved" for c in comparisons_of(old[pair], new[pair]))
    ]
    return len(wrong) / len(old)


@pytest.mark.parametrize("rounds", [5, 7, 10])
def test_at_most_5_percent_of_pairs_of_equal_runs_have_a_verdict(rounds: int) -> None:
    random = np.random.default_rng(rounds)
    old, new = runs(random, 1200, rounds), runs(random, 1200, rounds)
    share = share_with_verdict(old, new)
    print(f"{rounds} rounds: {share:.2%} of 1200 pairs of equal runs have a verdict")
    assert share <= 0.05


@pytest.mark.parametrize("rounds", [5, 7, 10])
def test_relative_verdicts_hold_on_a_faster_and_drifting_machine(rounds: int) -> None:
    random = np.random.default_rng([rounds, 1])
    drift = np.exp(np.cumsum(random.normal(0, 0.1, (2, 600, 1, rounds)), axis=-1))
    old, new = (runs(random, 600, rounds) * drift[0], 1.5 * runs(random, 600, rounds) * drift[1])
    against_baseline = (old[:, 1:] / old[:, :1], new[:, 1:] / new[:, :1])
    assert share_with_verdict(*against_baseline) <= 0.05
    assert share_with_verdict(old[:20], new[:20]) > 0.5


@pytest.mark.parametrize("rounds", [5, 7, 10])
def test_the_claimed_smallest_difference_is_detected_in_90_percent_of_runs_and_not_too_large(rounds: int) -> None:
    random = np.random.default_rng([rounds, 2])
    old, new = np.exp(0.03 * random.normal(size=(2, 100, KINDS * len(DIRECTIONS), rounds)))
    claims = [c.smallest for a, b in zip(old[:10], new[:10], strict=True) for c in comparisons_of(a, b)]
    smallest = float(np.mean([claim for claim in claims if claim is not None]))
    seen = {}
    for size in (smallest, 0.6 * smallest):
        differing = new.copy()
        differing[:, 0] *= 1 + size
        seen[size] = np.mean([comparisons_of(a, b)[0].verdict == "faster" for a, b in zip(old, differing, strict=True)])
        print(f"{rounds} rounds: a difference of {size:.1%} is detected in {seen[size]:.0%}")
    assert seen[smallest] >= 0.9
    assert min(seen.values()) >= 0.5


def test_whole_equal_runs_have_few_verdicts() -> None:
    """From samples to verdicts, with A/A arms. At an error rate of 5%, chance exceeds the bound once in 1000 tests."""
    wrong = 0
    for pair in range(60):
        compared = compare(
            run_of(steady(2 * pair, noise=0.05), rounds=5), run_of(steady(2 * pair + 1, noise=0.05), rounds=5)
        )
        wrong += any(c.verdict != "not resolved" for c in compared.comparisons)
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)
