from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.results import (
    COLUMNS,
    Histogram,
    ResultsError,
    ResultsWriter,
    Sample,
    binned,
    merged,
    read_results,
)

SAMPLE = Sample(1, 2, "vxlan", "cross-node", "latency", "rtt_p50", "us", 26.5, "2026-11-21T06:00:00+00:00")
FAILED = Sample(1, 3, "l2", "cross-node", "latency", "", "", None, "2026-11-21T06:00:00+00:00", 'said "no", twice')
positive = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=200).map(np.array)


def written(folder: Path) -> Path:
    values, counts = binned(np.array([20.5, 20.5, 31.0]))
    with ResultsWriter(folder) as writer:
        writer.write_manifest({"state": "done"})
        writer.append([SAMPLE, FAILED], [Histogram(1, "vxlan", "cross-node", "latency", "rtt", "us", values, counts)])
        writer.write_raw("one.json", b"{}")
        writer.write_plan("vxlan", "ip link\n")
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    results = read_results(written(tmp_path / "run"))
    assert results.samples == (SAMPLE, FAILED)
    assert results.manifest == {"state": "done"}
    (histogram,) = results.histograms
    assert histogram.values.tolist() == [20.5, 31.0]
    assert histogram.counts.tolist() == [2, 1]


def test_the_columns_are_those_documented(tmp_path: Path) -> None:
    header = (written(tmp_path / "run") / "samples.csv").read_text().splitlines()[0]
    assert header == ",".join(COLUMNS) == "round,position,design,path,probe,metric,unit,value,started,error"


def test_a_folder_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    written(tmp_path / "run")
    with pytest.raises(FileExistsError):
        ResultsWriter(tmp_path / "run")


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    """As after a power failure."""
    folder = written(tmp_path / "run")
    for name in ("samples.csv", "histograms.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text[:-cut])
    results = read_results(folder)
    assert results.samples == (SAMPLE,)
    assert results.histograms == ()


@pytest.mark.parametrize("name", ["manifest.json", "samples.csv", "histograms.jsonl"])
def test_a_missing_file_is_said(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(ResultsError, match=name):
        read_results(folder)


@pytest.mark.parametrize("line", ["[]", "{}", '{"round": 1, "values": [], "counts": [], "more": 2}', "nonsense"])
def test_a_damaged_file_is_said(tmp_path: Path, line: str) -> None:
    folder = written(tmp_path / "run")
    (folder / "histograms.jsonl").write_text(line + "\n")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_results(folder)


@given(positive)
def test_bins_keep_the_count_and_three_digits(values: np.ndarray) -> None:  # type: ignore[type-arg]
    distinct, counts = binned(values)
    assert counts.sum() == len(values)
    assert np.all(np.diff(distinct) > 0)
    assert np.allclose(np.repeat(distinct, counts), np.sort(values), rtol=0.0051)


@given(positive, positive)
def test_merging_is_pooling(one: np.ndarray, other: np.ndarray) -> None:  # type: ignore[type-arg]
    histograms = [Histogram(1, "d", "p", "l", "rtt", "us", *binned(values)) for values in (one, other)]
    values, counts = merged(histograms)
    together, together_counts = binned(np.concatenate([one, other]))
    assert values.tolist() == together.tolist()
    assert counts.tolist() == together_counts.tolist()


@given(positive, st.sampled_from([50.0, 90.0, 99.0, 99.9]))
def test_percentiles_are_those_of_the_values(values: np.ndarray, q: float) -> None:  # type: ignore[type-arg]
    histogram = Histogram(1, "d", "p", "l", "rtt", "us", *binned(values))
    assert histogram.percentile(q) == pytest.approx(np.percentile(values, q, method="inverted_cdf"), rel=0.0051)
