"""Counted instructions in reports: tables, comparisons, functions, flame graphs, and beside measured times."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed.experiment.results import ResultsError, ResultsWriter, Sample, read_results
from testbed.report import summaries_of, write_report
from testbed.report.compare import compare
from testbed.report.counts import take
from testbed.report.flame import svg
from testbed.report.functions import FILE, Walk, difference, read_walks, table
from testbed.report.instructions import lines, rows
from testbed.report.run import read_run
from testbed.report.statistics import series
from tests.report.conftest import Recipe, write_folder

METRIC = "tcp_64_instructions"
COUNTS = {"l3-host-routes": 50_694, "vxlan": 63_397, "l2": 50_700}


def counted(folder: Path, counts: Mapping[str, float], second: float = 1.0, path: str = "cross-node") -> Path:
    """A folder of `testbed count` with these counts; those of the second round are multiplied by `second`."""
    scenario = {
        "name": "counts",
        "designs": list(counts),
        "baseline": "l3-host-routes",
        "rounds": 2,
        "headline": [METRIC],
        "paths": {path: {"from": "client", "to": "web-2"}},
    }
    designs = {name: {"summary": name, "state": "measured"} for name in counts}
    with ResultsWriter(folder) as writer:
        writer.write_manifest({"scenario": scenario, "designs": designs, "state": "done", "counts": True})
        for number, factor in ((1, 1.0), (2, second)):
            for design, count in counts.items():
                where = (number, 1, "", design, path, "instructions")
                writer.append([Sample(*where, METRIC, "instructions", count * factor, "")])
    return folder


def test_the_table_has_all_digits(tmp_path: Path) -> None:
    results = read_results(counted(tmp_path / "counts", COUNTS, second=1.00001))
    run = read_run(results)
    found = rows(run, summaries_of(run, series(results.samples), results))
    assert [row.design for row in found] == list(COUNTS)
    assert list(lines(found))[:4] == [
        "cross-node: client → web-2  TCP 64 B",
        "l3-host-routes                50,694",
        "vxlan                         63,397",
        "l2                            50,700",
    ]
    assert found[1].rounds_differ == {METRIC: 0.001}


def test_the_report_tells_longer_paths_and_what_counts_are_not(tmp_path: Path) -> None:
    report = write_report(counted(tmp_path / "counts", COUNTS))
    assert {s.design: s.verdict for s in report.summaries} == {
        "l3-host-routes": "baseline",
        "vxlan": "longer",
        "l2": "equal",
    }
    text = report.markdown.read_text()
    assert "| vxlan | 63,397 |" in text
    assert "path length, not speed" in text
    assert "bootstrap" not in text


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "equal"), (1.004, "equal"), (1.006, "longer"), (0.99, "shorter")]
)
def test_two_countings_are_compared_exactly(tmp_path: Path, factor: float, verdict: str) -> None:
    old = read_results(counted(tmp_path / "old", COUNTS))
    new = read_results(counted(tmp_path / "new", {name: count * factor for name, count in COUNTS.items()}))
    compared = compare(old, new)
    assert compared.is_exact
    assert {c.verdict for c in compared.comparisons} == {verdict}
    assert all(c.ratio == pytest.approx(factor) for c in compared.comparisons)


def test_counts_are_beside_the_times_of_a_run(tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", Recipe(throughput=lambda *_: 10.0))
    report = write_report(run, counted(tmp_path / "counts", {**COUNTS, "l3-gateway": 58_000}))
    table_rows = [line.strip("| ").split(" | ") for line in report.markdown.read_text().splitlines()]
    first = next(n for n, row in enumerate(table_rows) if row[:3] == ["design", "Throughput", "Instructions"])
    found = {row[0]: row[2] for row in table_rows[first + 2 : first + 6]}
    assert found == {
        "l2": "50,700",
        "l3-gateway": "58,000",
        "l3-host-routes": "50,694",
        "vxlan": "63,397",
    }
    assert "Instructions" in write_report(run).html.read_text(), "they are kept in the folder"


def test_a_folder_without_counts_is_refused(tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", Recipe())
    with pytest.raises(ResultsError, match=r"has no counts of instructions: expected a folder of `testbed count`"):
        take(run, read_results(run))


def test_counts_of_other_paths_are_refused(tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", Recipe(throughput=lambda *_: 10.0))
    with pytest.raises(ResultsError, match=r"has counts of other paths \(elsewhere\) than .*run \(cross-node\)"):
        take(run, read_results(counted(tmp_path / "counts", COUNTS, path="elsewhere")))
    assert not (run / "counts.csv").exists()


@pytest.fixture
def walks(tmp_path: Path) -> tuple[Walk, ...]:
    (tmp_path / FILE).write_text(
        "cell,design,path,layer,calls,instructions,stack\n"
        ",l2,cross,socket,1,300,sys_sendto\n"
        ",l2,cross,TCP and UDP,2,600,sys_sendto;tcp_sendmsg\n"
        ",vxlan,cross,socket,1,310,sys_sendto\n"
        ",vxlan,cross,TCP and UDP,2,600,sys_sendto;tcp_sendmsg\n"
        ",vxlan,cross,tunnel,1,250,sys_sendto;tcp_sendmsg;vxlan_xmit<>\n"
    )
    return read_walks(tmp_path, {("", "l2", "cross"): 1000, ("", "vxlan", "cross"): 1200})


def test_layers_add_up_with_the_remainder(walks: tuple[Walk, ...]) -> None:
    assert list(table(walks[0])) == [
        "l2 cross: 1,000 instructions a TCP round trip of 64 B, 90.0% in functions",
        "  TCP and UDP                600  60.0%  tcp_sendmsg 600",
        "  socket                     300  30.0%  sys_sendto 300",
        "  not traced                 100  10.0%",
    ]


def test_the_difference_of_two_designs_is_told_by_layer(walks: tuple[Walk, ...]) -> None:
    assert list(difference(*walks)) == [
        "vxlan cross against l2 cross: +200 instructions",
        "  tunnel                    +250  vxlan_xmit<> +250",
        "  not traced                 -60",
        "  socket                     +10  sys_sendto +10",
        "  TCP and UDP                 +0",
    ]


def test_the_flame_graph_has_a_bar_as_wide_as_its_instructions(walks: tuple[Walk, ...]) -> None:
    picture = ET.fromstring(svg(walks[1]))
    space = "{http://www.w3.org/2000/svg}"
    bars = {
        str(group.findtext(f"{space}title")).partition(":")[0]: float(group.find(f"{space}rect").attrib["width"])  # type: ignore[union-attr]
        for group in picture.iter(f"{space}g")
    }
    assert bars == pytest.approx(
        {"round trip": 1200, "sys_sendto": 1200, "tcp_sendmsg": 1200 * 850 / 1160, "vxlan_xmit<>": 1200 * 250 / 1160},
        rel=1e-3,
    )
