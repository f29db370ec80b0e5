"""The first table of a report: a row a design, a column a headline metric."""

from collections.abc import Callable
from pathlib import Path

from testbed.experiment.results import read_results
from testbed.report import statistics
from testbed.report.overview import Entry, more_rounds, overviews
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
    text = more_rounds(*small)
    assert text.startswith("Not resolved: 1 of 1 headline comparisons")
    assert "rounds would resolve 1 of them" in text
    equal = read(
        make, designs=("l3-host-routes", "vxlan"), throughput=lambda d, _, r: 10 + (d == "vxlan") * (r % 3 - 1)
    )
    assert "would hardly help" in more_rounds(*equal)
    clear = read(make, designs=("l3-host-routes", "vxlan"), throughput=gbit)
    assert more_rounds(*clear) == ""


def test_metrics_that_are_no_headline_have_no_column(make: Make) -> None:
    run, summaries = read(make, throughput=gbit)
    others = tuple(s for s in summaries if s.metric != "throughput")
    assert others
    assert overviews(run, others) == ()
