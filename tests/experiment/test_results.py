import errno
import gzip
import os
import subprocess
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
    held,
    merged,
    new_folder,
    pack,
    read_results,
    unpack,
)

SAMPLE = Sample(1, 2, "", "vxlan", "cross-node", "latency", "rtt_p50", "us", 26.5, "2026-11-21T06:00:00+00:00")
FAILED = Sample(
    1,
    3,
    "mtu=9000",
    "l2",
    "cross-node",
    "latency",
    "",
    "",
    None,
    "2026-11-21T06:00:00+00:00",
    'said "no", twice',
    0.5,
    0.01,
    "stolen",
)
positive = st.lists(st.floats(0.001, 1e9), min_size=1, max_size=200).map(np.array)


def written(folder: Path) -> Path:
    values, counts = binned(np.array([20.5, 20.5, 31.0]))
    folder.mkdir()
    with ResultsWriter(folder) as writer:
        writer.write_manifest({"state": "done"})
        writer.append(
            [SAMPLE, FAILED], [Histogram(1, "", "vxlan", "cross-node", "latency", "rtt", "us", values, counts)]
        )
        writer.write_raw("one.json", b"{}")
        writer.write_plan("vxlan", "ip link\n")
    return folder


def test_written_results_are_read_back(tmp_path: Path) -> None:
    results = read_results(written(tmp_path / "run"))
    assert results.samples == (SAMPLE, FAILED)
    assert results.manifest == {"state": "done"}
    (histogram,) = results.histograms
    assert histogram.values.tolist() == [20.5, 31.0]
    assert histogram.counts.tolist() == [2, 1]


def test_the_columns_match_the_documentation(tmp_path: Path) -> None:
    header = (written(tmp_path / "run") / "samples.csv").read_text().splitlines()[0]
    assert (
        header
        == ",".join(COLUMNS)
        == ("round,position,cell,design,path,probe,metric,unit,value,started,error,idle,steal,flags")
    )


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    folders = {new_folder(tmp_path / "results", "run") for _ in range(5)}
    assert len(folders) == 5
    assert {folder.parent for folder in folders} == {tmp_path / "results"}


def test_only_one_run_can_lock_a_folder(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    with held(folder), pytest.raises(ResultsError, match="in use by another run"), held(folder):
        pass
    with held(folder):
        pass


def test_later_samples_are_appended(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    with ResultsWriter(folder) as writer:
        writer.append([FAILED])
    assert read_results(folder).samples == (SAMPLE, FAILED, FAILED)


def test_after_a_full_disk_pending_samples_are_written_and_none_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "run")
    before = (folder / "samples.csv").read_bytes()
    write, room = os.write, [10]

    def nearly_full(fd: int, content: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0], done = 0, write(fd, content[: room[0]])
        return done

    with ResultsWriter(folder) as writer:
        with monkeypatch.context() as full:
            full.setattr(os, "write", nearly_full)
            writer.append([FAILED])
        assert writer.trouble == "No space left on device"
        assert writer.waiting
        assert (folder / "samples.csv").read_bytes() == before
        writer.append([SAMPLE])
        assert not writer.waiting
    assert read_results(folder).samples == (SAMPLE, FAILED, FAILED, SAMPLE)


@pytest.mark.sealed
def test_a_full_disk_in_memory(tmp_path: Path) -> None:
    """The disk has 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    try:
        folder = written(disk / "run")
        with ResultsWriter(folder) as writer:
            filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
            with pytest.raises(OSError, match="No space"):
                while True:
                    os.write(filler, b"x" * 4096)
            os.close(filler)
            assert not writer.write_raw("large", os.urandom(100_000))
            assert writer.trouble == "No space left on device"
            assert not (folder / "raw/large.gz").exists()
            for _ in range(1000):
                writer.append([FAILED])
            assert writer.waiting
            assert all(sample in (SAMPLE, FAILED) for sample in read_results(folder).samples)
            (folder / "filler").unlink()
        assert not writer.waiting
        assert len(read_results(folder).samples) == 1002
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_of_a_probe_is_saved_like_its_output(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    (tmp_path / "log").write_bytes(b"line\n" * 100_000)
    with ResultsWriter(folder) as writer:
        assert writer.write_raw("log", tmp_path / "log")
    assert gzip.decompress((folder / "raw/log.gz").read_bytes()) == b"line\n" * 100_000


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_an_incomplete_last_line_is_ignored(tmp_path: Path, cut: int) -> None:
    """As after a power failure."""
    folder = written(tmp_path / "run")
    unpack(folder)
    for name in ("samples.csv", "histograms.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text[:-cut])
    results = read_results(folder)
    assert results.samples == (SAMPLE,)
    assert results.histograms == ()


def test_histograms_may_be_compressed_or_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    assert not (folder / "histograms.jsonl").exists(), "the writer compresses them"
    (packed,) = read_results(folder).histograms
    before = (folder / "histograms.jsonl.gz").read_bytes()
    unpack(folder)
    (plain,) = read_results(folder).histograms
    assert (packed.values == plain.values).all()
    pack(folder)
    assert (folder / "histograms.jsonl.gz").read_bytes() == before
    (folder / "histograms.jsonl.gz").write_bytes(b"nonsense")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_results(folder)
    (folder / "histograms.jsonl.gz").unlink()
    assert read_results(folder).histograms == ()


@pytest.mark.parametrize("name", ["manifest.json", "samples.csv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(ResultsError, match=name):
        read_results(folder)


@pytest.mark.parametrize("line", ["[]", "{}", '{"round": 1, "values": [], "counts": [], "more": 2}', "nonsense"])
def test_a_damaged_file_is_an_error(tmp_path: Path, line: str) -> None:
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
def test_merging_histograms_equals_pooling_values(one: np.ndarray, other: np.ndarray) -> None:  # type: ignore[type-arg]
    histograms = [Histogram(1, "", "d", "p", "l", "rtt", "us", *binned(values)) for values in (one, other)]
    values, counts = merged(histograms)
    together, together_counts = binned(np.concatenate([one, other]))
    assert values.tolist() == together.tolist()
    assert counts.tolist() == together_counts.tolist()


@given(positive, st.sampled_from([50.0, 90.0, 99.0, 99.9]))
def test_percentiles_match_those_of_the_values(values: np.ndarray, q: float) -> None:  # type: ignore[type-arg]
    histogram = Histogram(1, "", "d", "p", "l", "rtt", "us", *binned(values))
    assert histogram.percentile(q) == pytest.approx(np.percentile(values, q, method="inverted_cdf"), rel=0.0051)
