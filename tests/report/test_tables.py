import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from testbed.experiment.results import read_results
from testbed.report import statistics, tables, words
from testbed.report.run import Run, read_run
from testbed.report.statistics import Summary
from testbed.report.tables import HEADINGS

Make = Callable[..., Path]

STATES = {
    "l2": {
        "state": "failed",
        "reason": "1 of 60 questions was not answered",
        "check": {"asked": 60, "passed": 59, "failures": ["pod client -> pod web-2 udp: no answer"]},
    },
    "l3-gateway": {"state": "unavailable", "reason": "needs a kernel module"},
}


def gbit(design: str, path: str, round_: int) -> float:
    return {"vxlan": 6.0, "l2": 11.0}.get(design, 10.0) + round_ / 100


def read(make: Make, **fields: object) -> tuple[Run, tuple[Summary, ...]]:
    results = read_results(make(**fields))
    run = read_run(results)
    return run, statistics.summarise(statistics.series(results.samples), run.baseline)


def printed(table: RenderableType, width: int = 80, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, legacy_windows=False).print(table)
    return out.getvalue()


def line_of(text: str, design: str) -> str:
    """The design's row in a table of verdicts, which has more columns than the first table."""
    return next(line for line in text.splitlines() if line.startswith(design) and len(line.split()) >= len(HEADINGS))


def test_a_row_has_median_interval_ratio_and_verdict(make: Make) -> None:
    text = printed(tables.terminal(*read(make, throughput=gbit)))
    assert line_of(text, "vxlan").split() == [
        "vxlan",
        "6.03",
        "6.01..6.05",
        "0.601",
        "0.600..0.602",
        "slower",
    ]
    assert line_of(text, "l2").split()[-1] == "faster"
    assert line_of(text, "l3-host-routes").split()[-1] == "baseline"
    assert line_of(text, "l3-gateway").split()[-3:-1] == ["not", "resolved"]
    assert "cross-node: client → web-2" in text


def test_the_table_fits_80_columns_in_plain_text(make: Make) -> None:
    text = printed(tables.terminal(*read(make, throughput=gbit)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert "l3-host-routes " in text, "design names are not folded"
    assert text.count("not resolved") == 1, "verdicts are not folded"


def test_verdicts_are_coloured_on_a_terminal(make: Make) -> None:
    assert "\x1b[31mslower" in printed(tables.terminal(*read(make, throughput=gbit)), terminal=True)


def test_failed_designs_have_a_row_and_unavailable_designs_are_listed_below(make: Make) -> None:
    run, summaries = read(make, throughput=gbit, design_states=STATES)
    text = printed(tables.terminal(run, summaries), width=200)
    assert line_of(text, "l2").split()[-1] == "failed"
    assert line_of(text, "l3-gateway") == "l3-gateway was left out: needs a kernel module."
    assert "l2 failed: 1 of 60 questions was not answered; pod client -> pod web-2 udp: no answer." in text
    assert "l3-gateway was left out: needs a kernel module." in text
    markdown = tables.markdown(run, summaries, [])
    assert "| cross-node | Throughput, Gbit/s | l2 | - | - | - | - | failed |" in markdown.replace(words.NOTHING, "-")


def test_an_interrupted_run_says_how_far_it_got(make: Make) -> None:
    cut = {"state": "interrupted", "reason": "Ctrl-C"}
    text = printed(tables.terminal(*read(make, rounds=3, planned=5, throughput=gbit, manifest=cut)), width=200)
    assert "The run was interrupted (Ctrl-C): 3 of 5 rounds have counted samples." in text
    assert "slower" not in text
    assert "too few rounds" in text
    assert "75% for 3 rounds" in text


def test_a_run_without_counted_samples_says_so(make: Make) -> None:
    run, summaries = read(make, rounds=0, planned=5, throughput=gbit)
    assert "No counted samples yet" in printed(tables.terminal(run, summaries))
    assert "No counted samples yet" in tables.markdown(run, summaries, [])


def test_markup_in_names_and_reasons_is_escaped(make: Make) -> None:
    states = {"l2": {"state": "failed", "reason": "[red]a[/red] | <b>b</b> [/nope]"}}
    run, summaries = read(make, throughput=gbit, design_states=states)
    assert "[red]a[/red] | <b>b</b> [/nope]" in printed(tables.terminal(run, summaries), width=200)
    assert "<b>" not in tables.markdown(run, summaries, []).replace("\\<b", "")


def said(make: Make, **fields: object) -> str:
    return " ".join(s.text for answer in words.answers(*read(make, **fields)) for s in answer.sentences)


def test_answers_as_sentences(make: Make) -> None:
    text = said(make, throughput=gbit).replace("\N{NO-BREAK SPACE}", " ").replace(words.MINUS, "-")
    assert "vxlan is slower than l3-host-routes: -39.9% (-40.0% to -39.8%), 6.03 against 10.0 Gbit/s." in text
    assert "l2 is faster than l3-host-routes" in text
    assert "Not resolved against l3-host-routes: l3-gateway (under 0.0%; 0.0% to 0.0%)." in text
    assert "equal" not in text


def test_too_few_rounds_give_no_verdict_but_the_number_of_rounds(make: Make) -> None:
    text = said(make, rounds=4, throughput=gbit)
    assert "Too few rounds for a verdict: l2 (4 of 5), l3-gateway (4 of 5) and vxlan (4 of 5)." in text


def test_a_failed_baseline_is_reported(make: Make) -> None:
    text = said(make, throughput=gbit, design_states={"l3-host-routes": {"state": "failed"}})
    assert "Not compared, because the baseline l3-host-routes has no value" in text


def test_a_single_design_is_reported_without_comparison(make: Make) -> None:
    assert said(make, designs=["l2"], baseline="l2", throughput=gbit).startswith("Only l2 has values: 11.0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, words.NOTHING),
        (0, "0"),
        (0.0123, "0.012"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (9_999, "9,999"),
        (12_345.6, "12.3k"),
        (999_499, "999k"),
        (1_000_000, "1.00M"),
        (1_234_567, "1.23M"),
    ],
)
def test_numbers_have_about_three_digits(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(1.5, 12.34, "1.5..12.3"), (9_000, 35_000, "9.0k..35.0k"), (118_000, 160_400, "118k..160k")],
)
def test_both_ends_of_an_interval_have_the_same_format_and_fit_the_column(low: float, high: float, text: str) -> None:
    assert words.span(low, high) == text
