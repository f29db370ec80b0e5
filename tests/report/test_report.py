import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.results import ResultsError
from testbed.report import write_report
from testbed.report.statistics import COLUMNS

Make = Callable[..., Path]
Spread = Callable[..., Any]

DESIGNS = ("l2", "l3-host-routes", "vxlan")


def gbit(design: str, path: str, round_: int) -> float:
    return {"vxlan": 6.0}.get(design, 10.0) + round_ / 100


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_report_is_written_next_to_the_samples(make: Make, spread_rtt: Spread) -> None:
    folder = make(designs=DESIGNS, throughput=gbit, rtt=spread_rtt(DESIGNS))
    before = files(folder)
    report = write_report(folder)
    after = files(folder)
    assert {name: after[name] for name in before} == before, "files of the run are unchanged"
    assert {report.html.name, report.markdown.name, report.summary_csv.name} == {
        *("report.html", "report.md", "summary.csv")
    }
    assert len(report.plots) == 12 and all(plot.stat().st_size for plot in report.plots)
    assert {plot.suffix for plot in report.plots} == {".png", ".svg"}
    text = report.markdown.read_text("utf-8")
    assert all(f"(plots/{plot.name})" in text for plot in report.plots if plot.suffix == ".png")


def test_a_report_made_twice_has_the_same_bytes(make: Make, spread_rtt: Spread) -> None:
    folder = make(designs=DESIGNS, throughput=gbit, rtt=spread_rtt(DESIGNS))
    write_report(folder)
    first = files(folder)
    write_report(folder)
    assert files(folder) == first


def test_summary_csv_has_one_row_per_design_path_and_metric(make: Make, spread_rtt: Spread) -> None:
    paths = {"same-node": ("client", "web-1"), "cross-node": ("client", "web-2")}
    report = write_report(make(designs=DESIGNS, paths=paths, throughput=gbit, rtt=spread_rtt(DESIGNS)))
    with report.summary_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    keys = [(row["path"], row["metric"], row["design"]) for row in rows]
    assert len(keys) == len(set(keys)) == len(report.summaries) == 2 * 3 * 7
    assert keys[:4] == [
        ("same-node", "throughput", "l2"),
        ("same-node", "throughput", "l3-host-routes"),
        ("same-node", "throughput", "vxlan"),
        ("same-node", "rtt_p50", "l2"),
    ]
    assert {row["rounds"] for row in rows} == {"5"}


def test_an_interrupted_round_counts_only_for_designs_measured_in_it(make: Make) -> None:
    folder = make(designs=DESIGNS, rounds=6, planned=9, throughput=gbit, manifest={"state": "interrupted"})
    samples = folder / "samples.csv"
    lines = samples.read_text().splitlines(keepends=True)
    # The run ended in the sixth round: only l2 was measured in it, and the next line is incomplete.
    samples.write_text("".join(lines[:-4]) + lines[-4][:20])
    report = write_report(folder)
    throughput = {s.design: s for s in report.summaries if s.metric == "throughput"}
    assert [throughput[d].rounds for d in DESIGNS] == [6, 5, 5]
    assert [throughput[d].pairs for d in DESIGNS] == [5, 5, 5]
    assert "6 of 9 rounds" in report.html.read_text("utf-8")


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_very_few_samples_still_give_a_report(make: Make, spread_rtt: Spread, rounds: int) -> None:
    cut = {"state": "interrupted"}
    folder = make(designs=DESIGNS, rounds=rounds, planned=5, throughput=gbit, rtt=spread_rtt(DESIGNS), manifest=cut)
    report = write_report(folder)
    assert {s.verdict for s in report.summaries} <= {"baseline", "not resolved", ""}
    assert ("No counted samples yet" in report.html.read_text("utf-8")) == (rounds == 0)
    assert bool(report.plots) == (rounds > 0)


def test_a_single_design_is_reported_without_comparison(make: Make) -> None:
    report = write_report(make(designs=["l2"], baseline="l2", throughput=gbit))
    assert {s.verdict for s in report.summaries} == {"baseline"}
    assert "Only l2 has values" in report.html.read_text("utf-8")


def test_a_manifest_with_few_or_no_keys_is_accepted(make: Make) -> None:
    folder = make(designs=DESIGNS, throughput=gbit)
    (folder / "manifest.json").write_text(json.dumps({"scenario": {"baseline": "l2"}}))
    report = write_report(folder)
    assert {s.verdict for s in report.summaries if s.design == "vxlan"} == {"slower", ""}
    (folder / "manifest.json").write_text("{}")
    assert {s.ratio for s in write_report(folder).summaries} == {None}


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError):
        write_report(tmp_path)


def test_importing_the_package_does_not_import_matplotlib() -> None:
    code = "import sys, testbed.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
