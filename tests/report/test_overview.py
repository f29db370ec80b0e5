"""The first table of a report: a row a design, a column a headline metric."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from testbed.experiment.results import read_results
from testbed.report import statistics, tables
from testbed.report.overview import Entry, Row, more_rounds, overviews, rounds_to_resolve
from testbed.report.run import Run, read_run
from testbed.report.statistics import Summary

Make = Callable[..., Path]

NOISY = (0.7, 1.2, 1.0, 0.8, 1.3)
"""By round."""


def read(make: Make, **fields: object) -> tuple[Run, tuple[Summary, ...]]:
    results = read_results(make(**fields))
    run = read_run(results)
    return run, statistics.summarise(statistics.series(results.samples), run.baseline, headline=run.headline)


def gbit(design: str, path: str, round_: int) -> float:
    """vxlan is much slower, l2 is as noisy as NOISY, all others are equal."""
    if design == "l2":
        return 10 * NOISY[round_ - 1]
    return {"vxlan": 6.0}.get(design, 10.0) * (1 + (round_ + len(design)) % 3 / 1000)


def tenth(design: str, path: str, round_: int) -> float:
    """vxlan is faster by 10%, and has noise of about as much."""
    return 10 * (1.1, 0.95, 1.2, 1.15, 1.05)[round_ - 1] if design == "vxlan" else 10.0


def row_of(run: Run, summaries: tuple[Summary, ...]) -> Row:
    """The row of vxlan."""
    (row,) = (row for overview in overviews(run, summaries) for row in overview.rows if row.design == "vxlan")
    return row


def entries(run: Run, summaries: tuple[Summary, ...]) -> dict[str, Entry]:
    (overview,) = overviews(run, summaries)
    assert overview.columns == ("Throughput",)
    return {row.design: row.entries[0] for row in overview.rows}


def test_each_design_has_its_difference_with_its_interval_and_the_baseline_its_value(make: Make) -> None:
    found = entries(*read(make, throughput=gbit, aa=True))
    assert found["l3-host-routes"].text.endswith("Gbit/s")
    assert found["l3-host-routes"].verdict == "baseline"
    assert found["vxlan"] == Entry("\N{MINUS SIGN}40% (\N{MINUS SIGN}40..\N{MINUS SIGN}40%)", "slower")


def test_an_unresolved_difference_has_the_interval_alone(make: Make) -> None:
    found = entries(*read(make, throughput=gbit))
    assert found["l2"] == Entry("\N{MINUS SIGN}30..+30%", "not resolved")


def test_the_second_turn_of_the_baseline_is_named_in_words(make: Make) -> None:
    assert "machine's own noise" in entries(*read(make, throughput=gbit, aa=True))


def test_further_rounds_are_recommended_only_if_they_would_help(make: Make) -> None:
    small = read(make, designs=("l3-host-routes", "vxlan"), throughput=tenth)
    text, rounds = more_rounds(*small), rounds_to_resolve(*small)
    assert text.startswith("Not resolved: 1 of 1 headline comparisons")
    assert f"About {rounds} rounds would resolve 1 of them" in text
    assert rounds and 5 < rounds <= 40
    assert row_of(*small).open == f"about {rounds} rounds"
    equal = read(
        make, designs=("l3-host-routes", "vxlan"), throughput=lambda d, _, r: 10 + (d == "vxlan") * (r % 3 - 1)
    )
    assert "would hardly help" in more_rounds(*equal)
    assert rounds_to_resolve(*equal) is None
    assert row_of(*equal).open == "within the noise"
    clear = read(make, designs=("l3-host-routes", "vxlan"), throughput=gbit)
    assert more_rounds(*clear) == ""
    assert rounds_to_resolve(*clear) is None
    assert row_of(*clear).open == ""


def test_the_time_of_further_rounds_is_that_of_the_rounds_so_far(make: Make) -> None:
    run, summaries = read(make, designs=("l3-host-routes", "vxlan"), throughput=tenth)
    timed = replace(run, round_seconds=30.0)
    rounds = rounds_to_resolve(timed, summaries) or 0
    assert row_of(timed, summaries).open == f"about {rounds} rounds, {(rounds - 5) / 2:.1f} min more"
    assert f"({(rounds - 5) / 2:.1f} min more)" in more_rounds(timed, summaries)


def test_a_run_with_too_few_rounds_is_told_how_many_a_verdict_requires(make: Make) -> None:
    run, summaries = read(make, designs=("l3-host-routes", "vxlan"), throughput=tenth, rounds=2)
    assert rounds_to_resolve(run, summaries) == 5
    assert "A verdict requires 5 rounds." in more_rounds(run, summaries)
    assert row_of(run, summaries).open.startswith("about 5 rounds")


def test_one_round_has_no_interval(make: Make) -> None:
    run, summaries = read(make, designs=("l3-host-routes", "vxlan"), throughput=tenth, rounds=1)
    assert row_of(run, summaries).entries[0].text == "+10%"
    assert ".." not in tables.markdown(run, summaries, ())


def test_metrics_that_are_no_headline_have_no_column(make: Make) -> None:
    run, summaries = read(make, throughput=gbit)
    others = tuple(s for s in summaries if s.metric != "throughput")
    assert others
    assert overviews(run, others) == ()
