"""Resuming a run: complete trials are kept, an incomplete one is removed."""

from pathlib import Path

import numpy as np
import pytest

from testbed.experiment.results import Histogram, ResultsWriter, Sample, binned, read_results, unpack
from testbed.experiment.resume import Measured, measured, mend


def trial(number: int, design: str, *metrics: str) -> list[Sample]:
    started = f"2026-11-21T06:00:{number:02d}.000+00:00"
    return [Sample(number, 1, "", design, "cross-node", "latency", metric, "us", 20.0, started) for metric in metrics]


def histogram(number: int, design: str) -> Histogram:
    return Histogram(number, "", design, "cross-node", "latency", "rtt", "us", *binned(np.array([20.0, 21.0])))


ALL = ("rtt_p50", "rtt_p99", "messages", "cpu_per_request")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three trials; tests cut off a part of the last one."""
    with ResultsWriter(tmp_path) as writer:
        writer.write_manifest({"state": "running"})
        for number, design in ((1, "l2"), (1, "vxlan"), (2, "l2")):
            writer.append(trial(number, design, *ALL), [histogram(number, design)])
    return tmp_path


def test_complete_trials_are_unchanged(folder: Path) -> None:
    unpack(folder)
    before = {name: (folder / name).read_bytes() for name in ("samples.csv", "histograms.jsonl")}
    results = mend(folder)
    assert len(results.samples) == 12
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("cut", [1, 30, 100, 200, 300])
def test_an_incomplete_trial_is_removed_entirely(folder: Path, cut: int) -> None:
    file = folder / "samples.csv"
    file.write_bytes(file.read_bytes()[:-cut])
    results = mend(folder)
    assert {measured(sample) for sample in results.samples} == {
        Measured(1, "", "l2", "cross-node", "latency"),
        Measured(1, "", "vxlan", "cross-node", "latency"),
    }
    assert [(h.round, h.design) for h in results.histograms] == [(1, "l2"), (1, "vxlan")]
    assert read_results(folder).samples == results.samples
    with ResultsWriter(folder) as writer:
        writer.append(trial(2, "l2", *ALL), [histogram(2, "l2")])
    assert len(read_results(folder).samples) == 12


def test_a_histogram_without_samples_is_removed(folder: Path) -> None:
    file = folder / "samples.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("2,")))
    assert [(h.round, h.design) for h in mend(folder).histograms] == [(1, "l2"), (1, "vxlan")]


def test_a_failed_trial_is_complete(folder: Path) -> None:
    failed = Sample(2, 2, "", "vxlan", "cross-node", "latency", "", "", None, "2026-11-21T06:01:00+00:00", "no luck")
    with ResultsWriter(folder) as writer:
        writer.append([failed])
    assert mend(folder).samples[-1] == failed
