"""Texts of reports: A/A, sweeps, doubts, limits, and the number of comparisons."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from testbed.experiment.results import read_results
from testbed.report import statistics, summaries_of, tables, words
from testbed.report.run import Doubt, Run, read_run
from testbed.report.statistics import Summary

DESIGNS = ("l3-host-routes", "vxlan")
NOISE = (0.99, 1.0, 1.01, 1.004, 0.996, 1.002, 0.998)


def printed(table: RenderableType) -> str:
    console = Console(width=80)
    with console.capture() as text:
        console.print(table)
    return text.get()


def gbit(design: str, path: str, round_: int) -> float:
    """VXLAN is 20% slower; noise differs between designs."""
    noise = NOISE[(round_ * (3 if design.startswith("vxlan") else 5 if design.startswith("aa") else 1)) % 7]
    return (8.0 if design.startswith("vxlan") else 10.0) * noise


def read(make: Any, **fields: object) -> tuple[Run, tuple[Summary, ...]]:
    results = read_results(make(designs=DESIGNS, rounds=7, throughput=gbit, **fields))
    run = read_run(results)
    return run, summaries_of(run, statistics.series(results.samples), results)


def sentences(run: Run, summaries: tuple[Summary, ...]) -> str:
    said = " ".join(sentence.text for answer in words.answers(run, summaries) for sentence in answer.sentences)
    return said.replace("\N{NO-BREAK SPACE}", " ").replace(words.MINUS, "-")


def test_answers_contain_the_a_a_result(make: Any) -> None:
    said = sentences(*read(make, aa=True))
    assert "vxlan is slower than l3-host-routes: -20" in said
    assert "The machine's own noise: " in said


def test_a_baseline_that_differs_from_itself_is_a_warning(make: Any) -> None:
    def drifting(design: str, path: str, round_: int) -> float:
        return gbit(design, path, round_) * (1.5 if design == "aa" else 1)

    results = read_results(make(designs=DESIGNS, rounds=7, throughput=drifting, aa=True))
    run = read_run(results)
    summaries = summaries_of(run, statistics.series(results.samples), results)
    said = sentences(run, summaries)
    assert "The machine's own noise: l3-host-routes is faster than itself" in said
    assert "vxlan is slower" not in said, "an effect within the A/A difference gets no verdict"


def test_a_sweep_is_described_by_design(make: Any) -> None:
    run, summaries = read(make, aa=True, cells=("mtu=1500", "mtu=9000"))
    said = sentences(run, summaries)
    assert said.startswith("vxlan is slower at mtu=1500 (-")
    assert " and mtu=9000 (-" in said
    assert [cell.factors for cell in run.cells] == [{"topology.fabric.mtu": "1500"}, {"topology.fabric.mtu": "9000"}]
    assert run.arms == (*DESIGNS, "aa")


MANY = ("l3-host-routes", "vxlan", "ipip", "gre", "geneve", "srv6")


def test_a_sweep_over_many_designs_is_described_by_cell_the_best_first(make: Any) -> None:
    def six(design: str, path: str, round_: int) -> float:
        slow = {"vxlan": 0.8, "gre": 0.7}.get(design.split()[0], 1.0)
        return 10 * slow * NOISE[(round_ * (1 + len(design))) % 7]

    results = read_results(make(designs=MANY, rounds=7, throughput=six, cells=("at=rack1", "at=rack2")))
    run = read_run(results)
    said = sentences(run, summaries_of(run, statistics.series(results.samples), results))
    assert said.startswith("With at=rack1 (l3-host-routes: 10.0 Gbit/s): slower: vxlan ")
    for text in said.split("With at=rack2 "):
        assert text.index("slower: vxlan") < text.index("gre ") < text.index("not resolved: ")
        assert text.index("not resolved") < min(text.index(design) for design in ("ipip", "geneve", "srv6"))


def test_values_without_a_baseline_value_have_no_verdict(make: Any) -> None:
    def of_vxlan(design: str, path: str, round_: int) -> float | None:
        return None if design.startswith("l3") else gbit(design, path, round_)

    results = read_results(make(designs=DESIGNS, rounds=7, throughput=of_vxlan, cells=("mtu=1500", "mtu=9000")))
    run = read_run(results)
    rows = summaries_of(run, statistics.series(results.samples), results)
    said = sentences(run, rows)
    assert said == "vxlan has 8.00 Gbit/s at mtu=1500 and 8.00 Gbit/s at mtu=9000, not compared."
    assert {words.verdict(row) for row in rows if row.metric == "throughput"} == {"no baseline"}


def test_a_sample_without_a_value_is_listed_with_its_reason(make: Any) -> None:
    def failing(design: str, path: str, round_: int) -> float | None:
        return None if (design, round_) == ("vxlan", 3) else gbit(design, path, round_)

    run = read_run(read_results(make(designs=DESIGNS, rounds=7, throughput=failing)))
    (line,) = words.failures(run)
    assert line.startswith("1 sample has no value (vxlan, ")


def test_flagged_samples_are_counted(make: Any) -> None:
    run, summaries = read(make, flags="saturated")
    text = "14 of 14 measurements are flagged 'saturated': less than 2% of the CPUs' time was idle."
    assert list(words.doubts(run, many=True)) == [text]
    assert list(words.doubts(run)) == []
    for report in (tables.markdown(run, summaries, ()), printed(tables.terminal(run, summaries))):
        text = " ".join(report.replace("\\", "").split())
        assert text.index("14 of 14 measurements are flagged") < text.index("Throughput")


def test_a_few_flagged_samples_are_counted_below_the_tables(make: Any) -> None:
    run = read(make)[0]
    few = replace(run, doubts=(Doubt("stolen", "the hypervisor took time", 1, 20, ("latency",)),))
    assert list(words.doubts(few)) == ["1 of 20 measurements are flagged 'stolen': the hypervisor took time."]
    assert list(words.doubts(few, many=True)) == []


def test_no_doubts_without_flags(make: Any) -> None:
    assert list(words.doubts(read(make)[0])) == []


def test_a_value_close_to_the_probes_limit_is_reported(make: Any) -> None:
    run, summaries = read(make, limit=10.5)
    (line,) = words.limits(run, summaries)
    assert line.startswith("Throughput of l3-host-routes cross-node is close to the loopback limit of probe 'thro")
    assert list(words.limits(*read(make, limit=20.0))) == []


def test_limits_are_not_a_design(make: Any) -> None:
    run, summaries = read(make, limit=10.5)
    assert run.limits == {("throughput", "throughput"): 10.5}
    assert {summary.design for summary in summaries} == set(DESIGNS)


def test_the_method_names_the_number_of_comparisons_and_looks(make: Any) -> None:
    assert words.method(*read(make, aa=True)).startswith("2 headline comparisons (")
    auto = {"scenario": {"designs": list(DESIGNS), "baseline": DESIGNS[0], "rounds": "auto"}, "looks": [5, 7]}
    run, summaries = read(make, aa=True, manifest=auto)
    assert "computed 2 times (after 5 and 7 rounds)" in words.method(run, summaries)
    assert run.look == 2
    cut = read(make, manifest=auto | {"looks": [5]})[0]
    assert cut.look == 2, "a run that was interrupted after a look gets one more look"


@pytest.mark.parametrize(
    ("pairs", "smallest", "text"),
    [
        (7, 0.0312, "not resolved <3.1%"),
        (7, 0.456, "not resolved <46%"),
        (7, 3.0, "not resolved"),
        (4, None, "too few rounds"),
    ],
)
def test_the_verdict_in_a_table(pairs: int, smallest: float | None, text: str) -> None:
    summary = Summary(
        *("", "vxlan", "cross-node", "throughput", "Gbit/s", pairs, 1.0, 0.9, 1.1, 1.0, 0.9, 1.1, "", None, smallest),
        verdict="not resolved",
        pairs=pairs,
    )
    assert words.verdict(summary) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.0, "0.0%"), (0.99999, "0.0%"), (1.0512, "+5.1%"), (0.9, "\u221210.0%")])
def test_a_ratio_as_a_difference(ratio: float, text: str) -> None:
    assert words.percent(ratio) == text


def test_a_sweep_gives_a_complete_report(make: Any) -> None:
    from testbed.report import write_report

    folder: Path = make(designs=DESIGNS, rounds=7, throughput=gbit, aa=True, cells=("mtu=1500", "mtu=9000"), limit=20.0)
    report = write_report(folder)
    page = report.html.read_text("utf-8")
    assert page.count("mtu=9000") > 3
    assert any("sweep" in plot.name for plot in report.plots)
    assert "| cross-node | Throughput, Gbit/s mtu=9000 | vxlan |" in report.markdown.read_text("utf-8")
